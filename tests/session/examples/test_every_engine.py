"""What learning means to every family of networks, with random weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.engines import FAMILIES, make_engine
from support.learning import box_of, dice, draw_pair, teach

from segscope.inference.answers import MaskCandidate
from segscope.inference.crop import Crop
from segscope.inference.learning import window_answer
from segscope.inference.learning.guard import GuardRule, LearnedLogits
from segscope.inference.learning.head import SessionHead
from segscope.inference.learning.parts import cover_crop, mask_box
from segscope.inference.learning.window import HeadWindow
from segscope.models.engine import Decoded, DecoderPrompt, Engine, Features
from segscope.models.sam import SamEngine
from segscope.prompts import Box, MaskPrompt, Point
from segscope.session import Interaction, segment
from segscope.session.examples import Examples
from segscope.stack import Stack

NEW = 20


def make_medsam() -> Engine:
    sam = make_engine("sam")
    assert isinstance(sam, SamEngine)
    return SamEngine(sam.model, replace(sam.card, squash=True), weights_hash="random")


@pytest.fixture(scope="module", params=[*FAMILIES, "medsam"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "medsam":
        return make_medsam()
    return make_engine(request.param)


@pytest.fixture(scope="module")
def examples(engine: Engine) -> Iterator[Examples]:
    with Examples(engine) as taught:
        teach(taught, 3)
        yield taught


@pytest.fixture
def always_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are the ridge's, whatever the guard expects."""

    def answer(
        head: SessionHead,
        window: HeadWindow,
        cells: torch.Tensor,
        _own: torch.Tensor,
        _rule: GuardRule,
    ) -> LearnedLogits:
        return LearnedLogits(head.whole.of_window(cells, window.places()), 0.1)

    monkeypatch.setattr(window_answer, "answer_window", answer)


def draw_wide(seed: int, shape: tuple[int, int]) -> tuple[Stack, np.ndarray]:
    """A bright rectangle at a random place of a frame that is not square."""
    rng = np.random.default_rng(seed)
    height, width = shape
    rows, columns = height // 2, width // 4
    top = rng.integers(2, height - rows - 2)
    left = rng.integers(2, width - columns - 2)
    mask = np.zeros(shape, bool)
    mask[top : top + rows, left : left + columns] = True
    image = 60 + 120 * mask + rng.normal(0, 4, shape)
    return Stack.from_array(image.clip(0, 255).astype(np.uint8)), mask


class TestEveryEngine:
    def test_objects_that_are_accepted_teach(self, engine: Engine) -> None:
        with Examples(engine) as examples:
            for seed in range(3):
                stack, truth = draw_pair(seed)
                with Interaction(stack, engine, examples=examples) as work:
                    work.add(MaskPrompt(truth))
                    work.accept(0, [1])
            (summary,) = examples.summarise()
            assert summary.count == 3
            assert summary.learned is not None
            stack, truth = draw_pair(NEW)
            answer = segment(stack, engine, [box_of(truth)], examples=examples)
            assert answer.mask(0, 1).shape == truth.shape

    def test_a_file_of_examples_gives_the_same_answers(
        self, engine: Engine, examples: Examples, tmp_path: Path
    ) -> None:
        stack, truth = draw_pair(NEW)
        examples.save(tmp_path / "pairs.examples")
        with Examples(engine) as others:
            others.load(tmp_path / "pairs.examples")
            assert others.choose("pair") == examples.choose("pair")
            one = segment(stack, engine, [box_of(truth)], examples=examples)
            two = segment(stack, engine, [box_of(truth)], examples=others)
        assert np.array_equal(one.mask(0, 1), two.mask(0, 1))

    @pytest.mark.usefixtures("always_learned")
    @pytest.mark.parametrize("shape", [(40, 90), (90, 40), (300, 620)])
    def test_learned_masks_lie_where_the_object_is(
        self, engine: Engine, shape: tuple[int, int]
    ) -> None:
        stack, truth = draw_wide(NEW, shape)
        with Examples(engine) as examples:
            for seed in range(3):
                examples.add(*draw_wide(seed, shape))
            answer = segment(stack, engine, [box_of(truth)], examples=examples)
        assert dice(answer.mask(0, 1), truth) > 0.85

    @pytest.mark.usefixtures("always_learned")
    def test_stored_logits_have_the_shape_of_their_window(
        self, engine: Engine, examples: Examples
    ) -> None:
        wide = Stack.from_array(np.zeros((300, 900), np.uint8))
        with Interaction(wide, engine, examples=examples) as work:
            work.add(Box((100, 10, 600, 290)))
            answer = work.state.objects[1].answers[0]
            logits = work.inference.stored_logits(answer)
        assert answer.view.size_hw == (300, 725)
        assert logits.shape == (106, 256)

    @pytest.mark.usefixtures("always_learned")
    def test_a_click_starts_from_the_learned_mask_where_it_lies(
        self, engine: Engine, examples: Examples, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if engine.window_rule is not None:
            pytest.skip("windows are cut from the answer on the frame")
        stack, truth = draw_pair(NEW)
        starts = []
        decode = engine.decode

        def spy(features: Features, prompts: list[DecoderPrompt], **options: Any) -> Decoded:
            starts.extend(prompt.previous for prompt in prompts)
            return decode(features, prompts, **options)

        with Interaction(stack, engine, examples=examples) as work:
            learned = work.add(box_of(truth))
            monkeypatch.setattr(engine, "decode", spy)
            y, x = map(int, np.argwhere(truth)[0])
            work.add(Point(x, y))
        start = starts[0]
        assert start is not None
        full = torch.nn.functional.interpolate(start[None, None], truth.shape, mode="bilinear")
        assert dice(full[0, 0].numpy() > 0, learned.mask) > 0.95


class TestMemory:
    @pytest.mark.usefixtures("always_learned")
    @pytest.mark.parametrize("family", ["sam2", "edgetam", "sam3"])
    def test_a_learned_mask_is_what_is_remembered(self, family: str) -> None:
        engine = make_engine(family)
        image, truth = draw_pair(NEW)
        clip = Stack.from_array(np.stack([image[0]] * 3))
        with Examples(engine) as examples:
            teach(examples, 3)
            with Interaction(clip, engine, examples=examples) as work:
                learned = work.add(box_of(truth))
                state = work.inference
                stored = work.state.objects[1].answers[0].memory
                assert stored is not None
                with torch.inference_mode():
                    _, (expected,) = state.remember_masks(0, [learned.mask])
                map_ = state.spool.get(stored.map, "cpu")
                work.choose(0, 1, 1)
                plain = work.state.objects[1].answers[0].memory
                assert plain is not None
                other = state.spool.get(plain.map, "cpu")
        assert torch.allclose(map_.float(), expected.map.float(), atol=0.02)
        assert not torch.allclose(map_.float(), other.float(), atol=0.02)

    @pytest.mark.usefixtures("always_learned")
    @pytest.mark.parametrize("family", ["sam2", "mini", "sam"])
    def test_tracking_goes_on_from_a_learned_mask(self, family: str) -> None:
        engine = make_engine(family)
        image, truth = draw_pair(NEW)
        clip = Stack.from_array(np.stack([image[0]] * 3))
        with Examples(engine) as examples:
            teach(examples, 2)
            with Interaction(clip, engine, examples=examples) as work:
                work.add(box_of(truth))
                list(work.propagate())
                assert work.masks().labels.shape == (3, 96, 96)


class TestChunks:
    def test_examples_of_slices_that_are_encoded_together(self) -> None:
        engine = make_engine("sam2")
        engine.chunk_depth = 2
        frames = [draw_pair(seed) for seed in range(3)]
        volume = Stack.from_array(np.stack([image[0] for image, _ in frames]))
        with Examples(engine) as examples:
            for number, (_, mask) in enumerate(frames):
                examples.add(volume, mask, frame=number)
            assert examples.summarise()[0].learned is not None
            answer = segment(volume, engine, [Box((10, 10, 60, 60), frame=2)], examples=examples)
        assert answer.labels.shape == (3, 96, 96)


class TestPadding:
    def test_logits_are_read_beside_the_padding_of_sam(self) -> None:
        engine = make_engine("sam")
        shape = (30, 90)
        side = 4 * 8  # of the decoder at an input of 128
        logits = torch.full((side, side), -5.0)
        rows = round(side * shape[0] / shape[1])
        logits[:rows, side // 2 :] = 5.0  # the right half of the image
        window = HeadWindow(Crop.whole(shape), (0.0, 0.0, 90.0, 30.0))
        cells = window.read_logits(engine, logits, Crop.whole(shape)).view(64, 64)
        assert bool((cells[4:-4, 36:] > 0).all())
        assert bool((cells[:, :28] < 0).all())

    def test_boxes_of_masks_leave_the_padding_out(self) -> None:
        engine = make_engine("sam")
        logits = torch.full((32, 32), -5.0)
        logits[2:9, 16:24] = 5.0
        candidate = MaskCandidate(logits, Crop.whole((30, 90)), 0.9, None)
        box = mask_box(cover_crop(engine, candidate))
        expected = (45.0, 6.0, 68.0, 25.0)  # an eleventh of 32 cells is a pixel of 90, either way
        assert box == pytest.approx(expected, abs=2.0)
