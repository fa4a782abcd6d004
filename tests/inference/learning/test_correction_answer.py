from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.engines import make_engine
from support.learning import box_of, dice, draw_pair
from support.nests import Nest, learn_disc, mask_of
from torch import Tensor

from segscope.inference.answers import MaskCandidate, PromptedFrame, PromptedMasks
from segscope.inference.crop import Crop
from segscope.inference.learning.correction_answer import learn_correction, locate_object
from segscope.inference.learning.example import Source
from segscope.inference.learning.head import SessionHead, fit_head
from segscope.inference.learning.observation import make_example
from segscope.inference.prompted_masks import decode_prompts
from segscope.load import load
from segscope.models.engine import DecoderPrompt, Engine
from segscope.render import Renderer

SIZE_HW = (100, 200)


def clicks(*places: tuple[float, float, bool]) -> DecoderPrompt:
    xy = np.array([place[:2] for place in places], float).reshape(-1, 2)
    return DecoderPrompt(xy, np.array([place[2] for place in places], bool))


@pytest.fixture(scope="module")
def mini() -> Engine:
    return load("mini")


def frame_of(engine: Engine, seed: int, head: SessionHead | None = None) -> PromptedFrame:
    stack, _ = draw_pair(seed)
    image = Renderer(stack)[0]
    return PromptedFrame(
        engine,
        image.shape[:2],
        lambda crop: engine.encode(np.ascontiguousarray(crop.cut(image))),
        head=head,
    )


@pytest.fixture(scope="module")
def pair_head(mini: Engine) -> SessionHead:
    examples = []
    for seed in range(4):
        source = Source("pair", f"image {seed}", f"case {seed}")
        examples.append(make_example(frame_of(mini, seed), draw_pair(seed)[1], source))
    return fit_head(examples)


class TestPlace:
    def test_it_holds_answer_box_and_positive_clicks(self) -> None:
        previous = torch.full(SIZE_HW, -5.0)
        previous[10:20, 30:60] = 5.0
        prompt = replace(clicks((70, 15, True), (90, 90, False)), box=(25.0, 12.0, 40.0, 30.0))
        assert locate_object(prompt, previous, SIZE_HW) == (25.0, 10.0, 70.0, 30.0)

    def test_answers_of_another_size_are_scaled(self) -> None:
        previous = torch.full((50, 50), -5.0)
        previous[10:20, 10:30] = 5.0
        assert locate_object(clicks(), previous, SIZE_HW) == (40.0, 20.0, 120.0, 40.0)

    def test_clicks_alone_say_no_size(self) -> None:
        assert locate_object(clicks((5, 5, True)), None, SIZE_HW) is None
        assert locate_object(clicks((5, 5, True)), torch.full(SIZE_HW, -1.0), SIZE_HW) is None


class TestPairs:
    """Squares without their stripe: the network alone takes the stripe for part of them."""

    @torch.inference_mode()
    def test_a_box_with_a_click_is_answered_as_in_the_examples(
        self, mini: Engine, pair_head: SessionHead
    ) -> None:
        _, truth = draw_pair(10)
        x0, y0, x1, y1 = box_of(truth).xyxy
        prompt = replace(clicks((x0 + 4, (y0 + y1) / 2, True)), box=(x0, y0, x1, y1))
        plain = decode_prompts(frame_of(mini, 10), prompt, None)
        masks = decode_prompts(frame_of(mini, 10, pair_head), prompt, None)
        assert masks.learned
        assert masks.candidates[1].logits.equal(plain.candidates[0].logits)
        learned = dice(mask_of(mini, masks.candidates[0]), truth)
        assert learned > dice(mask_of(mini, plain.candidates[0]), truth) + 0.05

    @torch.inference_mode()
    def test_what_was_clicked_ends_on_its_side(self, mini: Engine, pair_head: SessionHead) -> None:
        _, truth = draw_pair(10)
        x0, y0, x1, y1 = box_of(truth).xyxy
        middle = ((x0 + x1) / 2, (y0 + y1) / 2)
        edge = (x0 + 4.0, middle[1])
        prompt = replace(clicks((*middle, True), (*edge, False)), box=(x0, y0, x1, y1))
        masks = decode_prompts(frame_of(mini, 10, pair_head), prompt, None)
        assert masks.learned
        mask = mask_of(mini, masks.candidates[0])
        assert mask[int(middle[1]), int(middle[0])]
        assert not mask[int(edge[1]), int(edge[0])]

    @torch.inference_mode()
    def test_the_head_fades_with_every_click(self, mini: Engine, pair_head: SessionHead) -> None:
        frame = frame_of(mini, 10)
        box = box_of(draw_pair(10)[1]).xyxy
        plain = decode_prompts(frame, replace(clicks(), box=box), None)

        def learn(count: int) -> Tensor:
            prompt = replace(clicks(*[(500.0, 500.0, False)] * count), box=box)
            masks = learn_correction(frame, pair_head, plain, prompt, None)
            assert masks.learned
            return masks.candidates[0].logits

        first = learn(1)
        gaps = [float((learn(count) - first).abs().max()) for count in (2, 3, 8)]
        assert 0 < gaps[0] < gaps[1] < gaps[2]


class TestSilence:
    @torch.inference_mode()
    @pytest.mark.parametrize("family", ["mini", "sam2", "sam"])
    def test_a_head_without_gains_changes_nothing(self, family: str) -> None:
        engine = make_engine(family)
        head = learn_disc(engine, 1, range(2))
        head = replace(head, gains=torch.full_like(head.gains, -1.0))
        nest = Nest(10)
        prompt = clicks((*nest.centre, True), (5.0, 5.0, False))
        plain = decode_prompts(nest.frame(engine), prompt, None)
        masks = decode_prompts(nest.frame(engine, head), prompt, None)
        assert not masks.learned
        assert masks.candidates[0].logits.equal(plain.candidates[0].logits)

    @torch.inference_mode()
    def test_an_answer_without_numbers_stays_plain(
        self, mini: Engine, pair_head: SessionHead
    ) -> None:
        frame = frame_of(mini, 10)
        broken = MaskCandidate(torch.full((64, 64), torch.nan), Crop.whole((96, 96)), 0.8, None)
        plain = PromptedMasks([broken])
        prompt = replace(clicks((40.0, 40.0, True)), box=(20.0, 20.0, 60.0, 60.0))
        assert learn_correction(frame, pair_head, plain, prompt, None) is plain
