from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from support.learning import box_of, dice, draw_disc, draw_pair, teach

from segscope.errors import PromptError, UsageError
from segscope.load import load
from segscope.models.engine import Engine, Features
from segscope.prompts import Box, MaskPrompt, Point
from segscope.session import Interaction, segment
from segscope.session.examples import Examples
from segscope.simulate.clicks import corrective_click
from segscope.stack import Stack

NEW = 20  # seed of an image that is no example


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


@pytest.fixture
def no_examples(mini: Engine) -> Iterator[Examples]:
    with Examples(mini) as empty:
        yield empty


class TestAnswers:
    def test_a_learned_answer_is_better_and_names_its_examples(
        self, mini: Engine, examples: Examples
    ) -> None:
        stack, truth = draw_pair(NEW)
        with Interaction(stack, mini, examples=examples) as work:
            learned = work.add(box_of(truth))
            record = work.record()
        plain = segment(stack, mini, [box_of(truth)])
        assert dice(learned.mask, truth) > dice(plain.mask(0, 1), truth) + 0.1
        assert learned.note == "learned from 3 examples"
        assert record["examples"] == {"1": list(examples.choose("pair"))}

    def test_the_plain_answer_is_the_next_candidate(self, mini: Engine, examples: Examples) -> None:
        stack, truth = draw_pair(NEW)
        plain = segment(stack, mini, [box_of(truth)])
        with Interaction(stack, mini, examples=examples) as work:
            work.add(box_of(truth))
            chosen = work.choose(0, 1, 1)
            learned = work.choose(0, 1, 0)
        assert np.array_equal(chosen.mask, plain.mask(0, 1))
        assert (chosen.note, learned.note) == ("", "learned from 3 examples")

    def test_segment_learns_too(self, mini: Engine, examples: Examples) -> None:
        stack, truth = draw_pair(NEW)
        masks = segment(stack, mini, [box_of(truth)], examples=examples)
        assert dice(masks.mask(0, 1), truth) > 0.9

    def test_an_object_of_another_label_learns_nothing(
        self, mini: Engine, examples: Examples
    ) -> None:
        stack, truth = draw_pair(NEW)
        with Interaction(stack, mini, examples=examples) as work:
            work.rename(1, "something else")
            answer = work.add(box_of(truth))
        assert answer.note == ""

    def test_a_window_unlike_the_examples_gets_the_plain_answer(
        self, mini: Engine, examples: Examples
    ) -> None:
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 255, (96, 96, 3), dtype=np.uint8)
        with Interaction(Stack.from_array(pixels), mini, examples=examples) as work:
            assert work.add(Box((20, 20, 70, 70))).note == ""

    def test_silent_where_features_say_nothing(
        self, mini: Engine, no_examples: Examples, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def blank(features: Features) -> tuple[torch.Tensor, ...]:
            return tuple(torch.zeros_like(each) for each in features.deep)

        monkeypatch.setattr(mini, "pixel_maps", blank)
        for seed in range(4):
            no_examples.add(*draw_disc(seed))
        stack, truth = draw_disc(NEW)
        with Interaction(stack, mini, examples=no_examples) as work:
            assert work.add(box_of(truth)).note == ""

    def test_examples_of_other_weights_are_refused(self, sam2: Engine, examples: Examples) -> None:
        stack, _ = draw_pair(NEW)
        with pytest.raises(UsageError, match="say nothing to"):
            Interaction(stack, sam2, examples=examples)

    def test_an_empty_mask_is_no_example(self, no_examples: Examples) -> None:
        stack, truth = draw_pair(0)
        with pytest.raises(PromptError, match="empty"):
            no_examples.add(stack, np.zeros_like(truth))

    def test_a_mask_too_thin_in_its_box_is_no_example(self, no_examples: Examples) -> None:
        stack, truth = draw_pair(0)
        line = np.zeros_like(truth)
        np.fill_diagonal(line, True)
        with pytest.raises(PromptError, match="too thin"):
            no_examples.add(stack, line)

    def test_an_object_that_fills_the_frame_teaches(
        self, mini: Engine, no_examples: Examples
    ) -> None:
        for seed in range(3):
            stack, truth = draw_pair(seed)
            no_examples.add(stack, np.ones_like(truth))
        stack, truth = draw_pair(NEW)
        with Interaction(stack, mini, examples=no_examples) as work:
            answer = work.add(Box((0, 0, truth.shape[1], truth.shape[0])))
        assert answer.mask.any()
        assert no_examples.summarise()[0].learned is not None

    def test_examples_of_the_same_image_count_when_they_come_from_elsewhere(
        self, mini: Engine, no_examples: Examples
    ) -> None:
        teach(no_examples, 3)
        stack, truth = draw_pair(0)
        with Interaction(stack, mini, examples=no_examples) as work:
            assert work.add(box_of(truth)).note == "learned from 3 examples"
            work.accept(0, [1])
            work.undo()
            work.update_examples()
        assert no_examples.count("pair") == 3


class TestCorrections:
    def test_a_click_changes_a_learned_answer_only_about_itself(
        self, mini: Engine, examples: Examples
    ) -> None:
        stack, truth = draw_pair(NEW)
        box = box_of(truth)
        with Interaction(stack, mini, examples=examples) as work:
            before = work.add(box)
            x, y, positive = corrective_click(before.mask, truth)
            after = work.add(Point(x + 0.5, y + 0.5, positive=bool(positive)))
        rows, columns = np.nonzero(before.mask != after.mask)
        side = max(box.xyxy[2] - box.xyxy[0], box.xyxy[3] - box.xyxy[1])
        assert len(rows)
        assert np.hypot(rows - y, columns - x).max() <= 0.3 * side + 2
        assert after.mask[int(y), int(x)] == positive
        assert after.note == before.note
        assert dice(after.mask, truth) > 0.9

    def test_the_plain_answer_is_corrected_by_the_network_alone(
        self, mini: Engine, examples: Examples
    ) -> None:
        rng = np.random.default_rng(0)
        other = Stack.from_array(rng.integers(0, 255, (96, 96, 3), dtype=np.uint8))
        prompts = [Box((20, 20, 70, 70)), Point(40, 40, positive=False)]
        answers = []
        for learning in (None, examples):
            with Interaction(other, mini, examples=learning) as work:
                work.add(prompts[0])
                answers.append(work.add(prompts[1]))
        assert answers[1].note == ""
        assert np.array_equal(answers[0].mask, answers[1].mask)


class TestAcceptance:
    def accept_pairs(self, mini: Engine, examples: Examples, count: int) -> None:
        for seed in range(count):
            stack, truth = draw_pair(seed)
            with Interaction(stack, mini, examples=examples) as work:
                work.rename(1, "pair")
                work.add(MaskPrompt(truth))
                work.accept(0, [1])

    def test_what_is_accepted_teaches_the_next_image(
        self, mini: Engine, no_examples: Examples
    ) -> None:
        self.accept_pairs(mini, no_examples, 3)
        assert no_examples.count("pair") == 3
        stack, truth = draw_pair(NEW)
        with Interaction(stack, mini, examples=no_examples) as work:
            work.rename(1, "pair")
            assert dice(work.add(box_of(truth)).mask, truth) > 0.9

    def test_undo_takes_an_acceptance_out_and_brings_the_earlier_answer_back(
        self, mini: Engine, no_examples: Examples
    ) -> None:
        self.accept_pairs(mini, no_examples, 3)
        stack, truth = draw_pair(NEW)
        with Interaction(stack, mini, examples=no_examples) as work:
            work.rename(1, "pair")
            work.rename(2, "pair")
            before = work.preview(box_of(truth, 2))
            work.add(MaskPrompt(truth))
            work.accept(0, [1])
            with_own = work.preview(box_of(truth, 2))
            work.undo()
            after = work.preview(box_of(truth, 2))
        assert before.note == "learned from 3 examples"
        assert with_own.note == "learned from 4 examples"
        assert after.note == before.note
        assert np.array_equal(after.logits, before.logits)

    def test_an_object_accepted_in_bulk_teaches_after_review(
        self, mini: Engine, no_examples: Examples
    ) -> None:
        stack, truth = draw_pair(0)
        with Interaction(stack, mini, examples=no_examples) as work:
            work.add(MaskPrompt(truth))
            work.accept(0, [1], in_bulk=True)
            assert len(no_examples) == 0
            work.review([1])
            assert len(no_examples) == 1


class TestReplay:
    def write_log(self, path: Path, mini: Engine, examples: Examples) -> np.ndarray:
        stack, truth = draw_pair(NEW)
        with Interaction(stack, mini, examples=examples, log=path) as work:
            return work.add(box_of(truth)).logits

    def test_replay_gives_the_same_logits(
        self, mini: Engine, examples: Examples, tmp_path: Path
    ) -> None:
        logits = self.write_log(tmp_path / "log", mini, examples)
        stack, _ = draw_pair(NEW)
        with Interaction.resume(tmp_path / "log", stack, mini, examples=examples) as again:
            answer = again.frame_mask(0, 1)
        assert answer is not None
        assert np.array_equal(answer.logits, logits)

    def test_more_examples_do_not_change_a_replay(self, mini: Engine, tmp_path: Path) -> None:
        with Examples(mini, tmp_path / "examples") as few:
            teach(few, 3)
            logits = self.write_log(tmp_path / "log", mini, few)
            teach(few, 4)
            few._heads.clear()
            stack, _ = draw_pair(NEW)
            with Interaction.resume(tmp_path / "log", stack, mini, examples=few) as again:
                answer = again.frame_mask(0, 1)
        assert answer is not None
        assert np.array_equal(answer.logits, logits)

    def test_without_the_examples_the_masks_of_the_log_count(
        self, mini: Engine, examples: Examples, tmp_path: Path
    ) -> None:
        logits = self.write_log(tmp_path / "log", mini, examples)
        stack, _ = draw_pair(NEW)
        with Interaction.resume(tmp_path / "log", stack, mini) as again:
            answer = again.frame_mask(0, 1)
        assert answer is not None
        assert np.array_equal(answer.mask, logits > 0)
