from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.engines import make_engine
from support.learning import dice
from support.nests import Nest, learn_disc, mask_of

from segscope.inference.answers import MaskCandidate
from segscope.inference.crop import Crop
from segscope.inference.learning.box_answer import OVERFLOW_NOTE
from segscope.inference.learning.click_answer import (
    JudgedMasks,
    judge_masks,
    learn_click,
)
from segscope.inference.learning.sizes import LEAST_LOG
from segscope.inference.prompted_masks import decode_prompts
from segscope.load import load
from segscope.models.engine import Engine

OUTER = 2


@pytest.fixture(scope="module")
def mini() -> Engine:
    return load("mini")


@torch.inference_mode()
def answer_nests(engine: Engine, disc: int, *, learned: bool) -> list[float]:
    """Dice of the answers to a click in the middle of new nests."""
    head = learn_disc(engine, disc, range(4)) if learned else None
    scores = []
    for seed in (10, 11, 12):
        nest = Nest(seed)
        best = decode_prompts(nest.frame(engine, head), nest.click(), None).candidates[0]
        scores.append(dice(mask_of(engine, best), nest.masks[disc]))
    return scores


class TestNests:
    def test_a_click_means_what_it_meant_in_the_examples(self, mini: Engine) -> None:
        plain = answer_nests(mini, OUTER, learned=False)
        learned = answer_nests(mini, OUTER, learned=True)
        assert np.mean(learned) > np.mean(plain) + 0.4

    def test_nothing_is_lost_where_the_network_is_right_already(self, mini: Engine) -> None:
        plain = answer_nests(mini, 0, learned=False)
        learned = answer_nests(mini, 0, learned=True)
        assert min(plain) > 0.95
        assert np.subtract(learned, plain).min() > -0.02

    @torch.inference_mode()
    def test_the_plain_answer_is_the_next_candidate(self, mini: Engine) -> None:
        nest = Nest(10)
        plain = decode_prompts(nest.frame(mini), nest.click(), None)
        head = learn_disc(mini, 0, range(4))
        masks = decode_prompts(nest.frame(mini, head), nest.click(), None)
        assert masks.learned
        assert masks.note == "learned from 4 examples"
        assert len(masks.candidates) <= 4
        own = mask_of(mini, masks.candidates[1])
        assert (own == mask_of(mini, plain.candidates[0])).all()


class TestSilence:
    @torch.inference_mode()
    @pytest.mark.parametrize("family", ["mini", "sam2", "sam"])
    def test_features_that_say_nothing_leave_the_plain_answer(self, family: str) -> None:
        engine = make_engine(family)
        head = learn_disc(engine, 1, range(3))
        head = replace(head, gains=head.gains - 1)
        nest = Nest(10)
        masks = decode_prompts(nest.frame(engine, head), nest.click(), None)
        if not masks.learned:
            assert masks.note == ""
        assert all(bool(each.logits.isfinite().all()) for each in masks.candidates)

    @torch.inference_mode()
    def test_an_overflow_of_the_network_is_said(self) -> None:
        engine = make_engine("mini")
        head = learn_disc(engine, 1, range(2))
        nest = Nest(10)
        plain = decode_prompts(nest.frame(engine), nest.click(), None)
        broken = plain.candidates[0]._replace(logits=torch.full((32, 32), torch.nan))
        masks = learn_click(
            nest.frame(engine), head, replace(plain, candidates=[broken]), nest.click()
        )
        assert not masks.learned
        assert masks.note == OVERFLOW_NOTE

    @torch.inference_mode()
    def test_memory_of_the_plain_answer_is_not_lost(self) -> None:
        engine = make_engine("sam2")
        head = learn_disc(engine, 1, range(1))
        nest = Nest(10)
        masks = decode_prompts(nest.frame(engine, head), nest.click(), None)
        assert masks.learned == (masks.decoded is None)


class TestJudging:
    def judge(self, likelihoods: list[float], agreements: list[float]) -> JudgedMasks:
        crop = Crop.whole((32, 32))
        candidates = [MaskCandidate(torch.full((8, 8), -1.0), crop, 0.8, None) for _ in likelihoods]
        overlaps = torch.full((len(candidates),) * 2, 0.2).fill_diagonal_(1.0)
        return JudgedMasks(
            candidates, overlaps, torch.tensor(likelihoods), torch.tensor(agreements)
        )

    def test_equal_masks_leave_the_plain_answer(self) -> None:
        judged = self.judge([-1.0, -1.0], [0.5, 0.5])
        assert judged.choose() == 0

    def test_the_usual_size_wins(self) -> None:
        assert self.judge([-4.0, -5.0, -0.1], [0.5, 0.5, 0.5]).choose() == 2

    def test_a_little_more_is_not_enough(self) -> None:
        assert self.judge([-0.2, -0.18], [0.5, 0.52]).choose() == 0

    def test_the_mask_that_agrees_with_the_head_wins(self) -> None:
        assert self.judge([-1.0, -1.0], [0.1, 0.9]).choose() == 1

    @torch.inference_mode()
    def test_masks_of_the_object_agree_with_the_head_most(self, mini: Engine) -> None:
        head = learn_disc(mini, OUTER, range(4))
        nest = Nest(10)
        crop = Crop(10, 10, 150, 150, nest.image.shape[:2])
        candidates = []
        for mask in [*nest.masks, np.zeros_like(nest.masks[0])]:
            cut = torch.from_numpy(crop.cut(mask).astype(np.float32))
            candidates.append(MaskCandidate(cut * 20 - 10, crop, 0.8, None))
        judged = judge_masks(nest.frame(mini), head, candidates)
        assert int(judged.agreements.argmax()) == OUTER
        assert int(judged.likelihoods.argmax()) == OUTER
        assert float(judged.agreements[-1]) == 0
        assert float(judged.likelihoods[-1]) == LEAST_LOG
