"""Tracking with a session head: what it changes, and what it must leave alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.learning import SIZE, dice, draw_pair, draw_pair_volume, teach

from segscope.inference.answers import MaskCandidate, PromptedFrame
from segscope.inference.crop import Crop
from segscope.inference.learning import tracked_answer
from segscope.inference.learning.guard import GuardRule
from segscope.inference.learning.tracked_answer import LEAST_AREA, learn_tracked
from segscope.inference.learning.window import GRID
from segscope.load import load
from segscope.masks import Masks
from segscope.models.engine import Engine
from segscope.predict import trusted_heads
from segscope.prompts import Box, MaskPrompt
from segscope.session import Interaction, segment
from segscope.session.examples import Examples
from segscope.stack import Stack

NEW = 20  # seed of a volume that is no example
PROMPTED = 1
SLICES = 3
TRACKED = [frame for frame in range(SLICES) if frame != PROMPTED]
LEARNED = "learned from 3 examples"


@pytest.fixture(scope="module")
def mini() -> Engine:
    engine = load("mini")
    assert not hasattr(engine, "classes")
    return engine


@pytest.fixture(scope="module")
def examples(mini: Engine) -> Iterator[Examples]:
    with Examples(mini) as taught:
        teach(taught, 3)
        yield taught


def box_on(truth: NDArray[np.bool_]) -> Box:
    return Box(Box.around(truth[PROMPTED]).xyxy, PROMPTED)


def propagate(work: Interaction) -> None:
    for _ in work.propagate("both"):
        pass


def logits_of(work: Interaction) -> NDArray[np.float32]:
    """(frame, row, column) of object 1."""
    answers = [work.frame_mask(frame, 1) for frame in range(SLICES)]
    return np.stack([answer.logits for answer in answers if answer is not None])


def memory_of(work: Interaction, frame: int) -> torch.Tensor:
    memory = work.objects[1].answers[frame].memory
    assert memory is not None
    return work.inference.spool.get(memory.map)


class TestAnswers:
    def test_tracked_slices_are_better_and_say_that_they_learned(
        self, mini: Engine, examples: Examples
    ) -> None:
        stack, truth = draw_pair_volume(NEW, SLICES)
        plain = segment(stack, mini, [box_on(truth)])
        with Interaction(stack, mini, examples=examples) as work:
            work.add(box_on(truth))
            propagate(work)
            answers = {frame: work.frame_mask(frame, 1) for frame in TRACKED}
        for frame, answer in answers.items():
            assert answer is not None
            assert answer.note == LEARNED
            assert dice(answer.mask, truth[frame]) > dice(plain.mask(frame, 1), truth[frame]) + 0.1

    def test_memory_is_made_from_the_learned_mask(self, mini: Engine, examples: Examples) -> None:
        stack, truth = draw_pair_volume(NEW, SLICES)
        memories = []
        for taught in (examples, None):
            with Interaction(stack, mini, examples=taught) as work:
                work.add(MaskPrompt(truth[PROMPTED], PROMPTED))
                propagate(work)
                memories.append([memory_of(work, frame) for frame in (PROMPTED, PROMPTED + 1)])
        (prompted, learned), (same, plain) = memories
        assert torch.equal(prompted, same)
        assert not torch.equal(learned, plain)

    def test_slices_unlike_the_examples_get_the_plain_answer(
        self, mini: Engine, examples: Examples
    ) -> None:
        pixels = np.random.default_rng(0).integers(0, 255, (SLICES, SIZE, SIZE), dtype=np.uint8)
        pixels[:, 20:70, 20:70] //= 2
        stack = Stack.from_array(pixels)
        prompt = Box((20, 20, 70, 70), PROMPTED)
        learned = segment(stack, mini, [prompt], examples=examples)
        assert_same(learned, segment(stack, mini, [prompt]))

    def test_an_object_without_examples_is_tracked_as_before(
        self, mini: Engine, examples: Examples
    ) -> None:
        stack, truth = draw_pair_volume(NEW, SLICES)
        names = {1: "something else"}
        learned = segment(stack, mini, [box_on(truth)], names=names, examples=examples)
        assert_same(learned, segment(stack, mini, [box_on(truth)], names=names))

    def test_an_object_that_has_left_stays_away(self, mini: Engine, examples: Examples) -> None:
        stack, truth = draw_pair_volume(NEW, SLICES)
        pixels = np.asarray(stack.source).copy()
        empty = np.random.default_rng(1).normal(60, 6, (6, SIZE, SIZE)).clip(0, 255)
        longer = Stack.from_array(np.concatenate([pixels, empty.astype(np.uint8)]))
        plain = segment(longer, mini, [box_on(truth)])
        learned = segment(longer, mini, [box_on(truth)], examples=examples)
        last = len(longer) - 1
        assert not plain.mask(last, 1).any()
        for frame in range(SLICES, len(longer)):
            if not plain.mask(frame, 1).any():
                assert not learned.mask(frame, 1).any()


def assert_same(one: Masks, other: Masks) -> None:
    for frame in range(SLICES):
        assert np.array_equal(one.mask(frame, 1), other.mask(frame, 1))


class TestGuards:
    def frame(self, mini: Engine) -> tuple[PromptedFrame, MaskCandidate, NDArray[np.bool_]]:
        """A new image, the mask of its pair as logits, and the mask."""
        stack, truth = draw_pair(NEW)
        rgb = np.repeat(np.asarray(stack.source)[0][..., None], 3, axis=2)
        whole = Crop.whole((SIZE, SIZE))
        features = mini.encode(rgb)

        def encode(crop: Crop):  # type: ignore[no-untyped-def]
            if crop == whole:
                return features
            return mini.encode(np.ascontiguousarray(crop.cut(rgb)))

        logits = torch.from_numpy(np.where(truth, 4.0, -4.0).astype(np.float32))
        frame = PromptedFrame(mini, (SIZE, SIZE), encode)
        return frame, MaskCandidate(logits, whole, 0.9, 5.0), truth

    def test_a_tiny_mask_says_too_little(self, mini: Engine, examples: Examples) -> None:
        frame, plain, truth = self.frame(mini)
        head = examples.head(examples.choose("pair"))
        assert learn_tracked(frame, head, plain, truth) is not None
        tiny = np.zeros_like(truth)
        tiny.flat[np.flatnonzero(truth)[: LEAST_AREA - 1]] = True
        assert learn_tracked(frame, head, plain, tiny) is None

    def test_a_head_that_sees_nothing_does_not_empty_a_mask(
        self, mini: Engine, examples: Examples, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        frame, plain, truth = self.frame(mini)
        head = examples.head(examples.choose("pair"))
        nothing = plain._replace(logits=torch.full(GRID, -1.0))
        monkeypatch.setattr(tracked_answer, "learn_window", lambda *_: nothing)
        assert learn_tracked(frame, head, plain, truth) is None

    def test_a_small_gain_is_not_enough(
        self, mini: Engine, examples: Examples, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        frame, plain, truth = self.frame(mini)
        head = examples.head(examples.choose("pair"))
        monkeypatch.setattr(tracked_answer, "TRACKED", GuardRule(least_gain=0.9))
        assert learn_tracked(frame, head, plain, truth) is None


class TestEvidence:
    """A box that the learned mask does not fit: the head is not trusted."""

    def tracked_notes(
        self, mini: Engine, examples: Examples, stack: Stack, prompt: Box | MaskPrompt
    ) -> set[str]:
        with Interaction(stack, mini, examples=examples) as work:
            work.add(prompt)
            propagate(work)
            answers = [work.frame_mask(frame, 1) for frame in TRACKED]
        return {answer.note for answer in answers if answer is not None}

    def test_a_mask_that_fits_is_trusted(self, mini: Engine, examples: Examples) -> None:
        stack, truth = draw_pair_volume(NEW, SLICES)
        prompt = MaskPrompt(truth[PROMPTED], PROMPTED)
        assert self.tracked_notes(mini, examples, stack, prompt) == {LEARNED}

    def test_a_mask_of_another_thing_is_not(self, mini: Engine, examples: Examples) -> None:
        stack, truth = draw_pair_volume(NEW, SLICES)
        half = truth[PROMPTED].copy()
        x0, _, x1, _ = map(int, Box.around(half).xyxy)
        half[:, (x0 + x1) // 2 :] = False
        prompt = MaskPrompt(half, PROMPTED)
        assert self.tracked_notes(mini, examples, stack, prompt) == {""}


class TestSessions:
    def track(
        self, mini: Engine, examples: Examples, path: Path
    ) -> tuple[Stack, NDArray[np.float32]]:
        stack, truth = draw_pair_volume(NEW, SLICES)
        with Interaction(stack, mini, examples=examples, log=path) as work:
            work.add(box_on(truth))
            propagate(work)
            return stack, logits_of(work)

    def test_replay_gives_the_same_logits(
        self, mini: Engine, examples: Examples, tmp_path: Path
    ) -> None:
        stack, logits = self.track(mini, examples, tmp_path / "log")
        with Interaction.resume(tmp_path / "log", stack, mini, examples=examples) as again:
            assert np.array_equal(logits_of(again), logits)

    def test_more_examples_do_not_change_a_replay(self, mini: Engine, tmp_path: Path) -> None:
        with Examples(mini, tmp_path / "examples") as few:
            teach(few, 3)
            stack, logits = self.track(mini, few, tmp_path / "log")
            teach(few, 4)
            with Interaction.resume(tmp_path / "log", stack, mini, examples=few) as again:
                assert np.array_equal(logits_of(again), logits)

    def test_undo_and_redo_of_tracking(self, mini: Engine, examples: Examples) -> None:
        stack, truth = draw_pair_volume(NEW, SLICES)
        with Interaction(stack, mini, examples=examples) as work:
            work.add(box_on(truth))
            propagate(work)
            logits = logits_of(work)
            work.undo()
            assert work.frame_mask(PROMPTED + 1, 1) is None
            work.redo()
            assert np.array_equal(logits_of(work), logits)

    def test_the_record_names_the_examples(self, mini: Engine, examples: Examples) -> None:
        stack, truth = draw_pair_volume(NEW, SLICES)
        with Interaction(stack, mini, examples=examples) as work:
            work.add(MaskPrompt(truth[PROMPTED], PROMPTED))
            propagate(work)
            record = work.record()
        assert record["examples"] == {"1": list(examples.choose("pair"))}


def test_every_engine_learns_while_it_tracks(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights teach nothing, so the guards have to let their answers pass."""
    always = GuardRule(least_gain=-10.0, farthest=1e9)
    monkeypatch.setattr(tracked_answer, "TRACKED", always)
    monkeypatch.setattr(trusted_heads, "TRACKED", always)
    monkeypatch.setattr(trusted_heads, "agrees_with_box", lambda *_: True)
    stack, truth = draw_pair_volume(NEW, 3)
    notes = []
    runs = []
    with Examples(engine) as examples:
        teach(examples, 3)
        for _ in range(2):
            with Interaction(stack, engine, examples=examples) as work:
                work.add(MaskPrompt(truth[1], 1))
                answers = list(work.propagate("both"))
                notes.append([answer.note for answer in answers if answer.mask.any()])
                runs.append(np.stack([answer.logits for answer in answers]))
    assert LEARNED in notes[0]
    assert notes[0] == notes[1]
    first, second = runs
    assert np.array_equal(first, second)
