from __future__ import annotations

import numpy as np
import torch

from segscope.inference.constants import CLICKS_PER_SCRIBBLE, GIVEN
from segscope.inference.decoder_prompts import combine_prompts, decoder_prompt, mask_logits
from segscope.prompts import Box, MaskPrompt, Point, Scribble

MASK = np.zeros((20, 30), bool)
MASK[5:9, 6:12] = True


def test_training_reads_prompts_as_prediction_does() -> None:
    mask = np.zeros((20, 30), bool)
    mask[5:9, 6:12] = True
    talks = (
        [Box((1, 2, 9, 12)), Point(4.5, 5.5), Point(8.5, 2.5, positive=False)],
        [Scribble(((2.0, 3.0), (9.0, 9.0))), Box((0, 0, 5, 5)), Box((1, 1, 6, 6))],
        [Box((1, 2, 9, 12)), MaskPrompt(mask, refine=True), Point(4.5, 5.5)],
    )
    for prompts in talks:
        ours, theirs = decoder_prompt(prompts), combine_prompts(prompts)
        assert np.array_equal(ours.points, theirs.decoder_prompt.points)
        assert np.array_equal(ours.positive, theirs.decoder_prompt.positive)
        assert ours.box == theirs.decoder_prompt.box
        assert (ours.previous is None) == (theirs.start is None)
        if ours.previous is not None and theirs.start is not None:
            assert np.array_equal(ours.previous.numpy(), theirs.start.numpy())


def test_the_latest_box_counts_and_a_scribble_becomes_clicks() -> None:
    stroke = Scribble(((2.0, 3.0), (9.0, 9.0)))
    combined = combine_prompts([Box((0, 0, 5, 5)), stroke, Box((1, 1, 6, 6))])
    assert combined.decoder_prompt.box == (1, 1, 6, 6)
    assert len(combined.decoder_prompt.points) == CLICKS_PER_SCRIBBLE


def test_a_mask_alone_is_the_answer_and_one_with_clicks_is_refined() -> None:
    alone = combine_prompts([Box((0, 0, 5, 5)), MaskPrompt(MASK, score=0.5)])
    assert alone.exact_mask is not None
    assert np.array_equal(alone.exact_mask, MASK)
    assert alone.score == 0.5
    assert alone.decoder_prompt.clicks == 0
    refined = combine_prompts([MaskPrompt(MASK), Point(3, 3)])
    assert refined.exact_mask is None
    assert refined.start is not None


def test_a_decoder_takes_a_mask_alone_as_previous_logits() -> None:
    logits = decoder_prompt([MaskPrompt(MASK)]).previous
    assert logits is not None
    assert torch.equal(logits, mask_logits(MASK))
    assert set(logits.unique().tolist()) == {-GIVEN, GIVEN}
    earlier = torch.zeros(4, 4)
    assert decoder_prompt([MaskPrompt(MASK)], earlier).previous is earlier
