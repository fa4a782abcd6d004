from __future__ import annotations

import numpy as np
import pytest
import torch
from support.engines import make_engine

from segscope.inference.answers import MaskCandidate, PromptedFrame
from segscope.inference.constants import CLICKS_PER_SCRIBBLE, GIVEN
from segscope.inference.crop import Crop
from segscope.inference.prompted_masks import (
    GATE_NOTE,
    combine_prompts,
    decode_prompts,
    decoder_prompt,
    ellipse_logits,
    mask_logits,
)
from segscope.inference.windows import rank_candidates
from segscope.models.engine import DecoderPrompt, Engine, Features, WindowRule
from segscope.prompts import Box, MaskPrompt, Point, Scribble

SIZE_HW = (72, 96)
BOX = DecoderPrompt(np.zeros((0, 2)), np.zeros(0, bool), (20.0, 16.0, 60.0, 50.0))
CLICK = DecoderPrompt(np.array([[40.0, 30.0]]), np.ones(1, bool))


def noisy_frame(engine: Engine) -> tuple[PromptedFrame, list[Crop]]:
    """A frame of noise, and the crops of it that are encoded."""
    rgb = np.random.default_rng(0).integers(0, 255, (*SIZE_HW, 3), np.uint8)
    encoded: list[Crop] = []

    def features(crop: Crop) -> Features:
        encoded.append(crop)
        return engine.encode(np.ascontiguousarray(crop.cut(rgb)))

    return PromptedFrame(engine, SIZE_HW, features), encoded


@torch.no_grad()
@pytest.mark.parametrize("family", ["sam", "sam2"])
def test_whole_frames_are_encoded_without_a_window_rule(family: str) -> None:
    frame, encoded = noisy_frame(make_engine(family))
    masks = decode_prompts(frame, CLICK, None)
    assert encoded == [Crop.whole(SIZE_HW)]
    scores = [candidate.score for candidate in masks.candidates]
    assert scores == sorted(scores, reverse=True)
    assert masks.decoded is not None


@torch.no_grad()
def test_a_box_is_answered_with_its_mirror_image() -> None:
    frame, encoded = noisy_frame(make_engine("mini"))
    masks = decode_prompts(frame, BOX, None)
    assert [crop.mirrored for crop in encoded] == [False, True]
    assert all(not candidate.crop.mirrored for candidate in masks.candidates)


@torch.no_grad()
def test_clicks_are_tried_in_windows_of_several_sizes() -> None:
    frame, encoded = noisy_frame(make_engine("mini"))
    masks = decode_prompts(frame, CLICK, None)
    assert len(encoded) == len(WindowRule().click_shares)
    assert len(masks.candidates) == 4


@torch.no_grad()
def test_an_earlier_mask_gives_one_window_around_it() -> None:
    frame, encoded = noisy_frame(make_engine("mini"))
    previous = torch.full(SIZE_HW, -10.0)
    previous[20:30, 30:50] = 10.0
    decode_prompts(frame, CLICK, previous)
    (crop,) = encoded
    assert crop.holds((30, 20, 50, 30))


@torch.no_grad()
@pytest.mark.parametrize(("gate_iou", "gated"), [(-1e9, False), (1e9, True)])
def test_the_ellipse_stands_in_for_an_unsure_network(gate_iou: float, gated: bool) -> None:
    engine = make_engine("mini")
    engine.window_rule = WindowRule(gate_iou=gate_iou)
    frame, _ = noisy_frame(engine)
    masks = decode_prompts(frame, BOX, None)
    best = masks.candidates[0]
    assert BOX.box is not None
    ellipse = ellipse_logits(best.crop, BOX.box, best.logits)
    assert torch.equal(best.logits, ellipse) == gated
    assert (masks.note == GATE_NOTE) == gated


def candidate(box: tuple[int, int, int, int], view: Crop, score: float) -> MaskCandidate:
    """A filled box, in pixels of a 64 x 64 frame, as logits of a view."""
    full = torch.full((64, 64), -5.0)
    full[box[1] : box[3], box[0] : box[2]] = 5.0
    return MaskCandidate(full[view.y0 : view.y1, view.x0 : view.x1], view, score, None)


def test_windows_that_agree_outvote_one_that_is_surer() -> None:
    whole, half, quarter = (
        Crop.whole((64, 64)),
        Crop(16, 16, 48, 48, (64, 64)),
        Crop(24, 24, 40, 40, (64, 64)),
    )
    agreeing = [candidate((26, 26, 38, 38), view, 0.7) for view in (whole, half, quarter)]
    surer = candidate((2, 2, 62, 62), whole, 0.75)
    assert rank_candidates([surer, *agreeing], (64, 64))[0] is not surer
    assert (
        rank_candidates([surer, agreeing[0]], (64, 64))[0] is surer
    )  # one window: the predicted IoU alone


def test_a_mask_that_its_window_cuts_comes_after_one_that_lies_inside() -> None:
    whole, quarter = Crop.whole((64, 64)), Crop(24, 24, 40, 40, (64, 64))
    cut, inside = (
        candidate((10, 10, 54, 54), quarter, 0.8),
        candidate((10, 10, 54, 54), whole, 0.8),
    )
    assert [item.crop for item in rank_candidates([cut, inside], (64, 64))] == [whole, quarter]


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
