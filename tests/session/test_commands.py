"""Commands that an annotator needs besides prompts, previews, and states that are saved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.sessions import resumed, same_runs

from segscope.errors import PromptError, ReadError, UsageError, WriteError
from segscope.models.engine import Engine
from segscope.predict import StopRules
from segscope.predict.propagation import PropagationRange
from segscope.prompts import Box, MaskPrompt, Point, Prompt, Scribble
from segscope.session import Interaction, command_json, mask_delta
from segscope.session.command_log import CommandLog
from segscope.session.commands import (
    COMMANDS,
    Accept,
    Add,
    Choose,
    Clear,
    Confirm,
    Describe,
    Propagate,
    Redo,
    Remove,
    Rename,
    Replace,
    SessionCommand,
    Undo,
    entry_from_json,
)
from segscope.session.suggestions import Reject, Review, Suggest
from segscope.stack import Stack
from segscope.wire import prompt_to_json

DISC = Box((10, 20, 30, 40))
CLICK = Point(20, 30)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


class TestChoosing:
    def test_the_chosen_candidate_is_the_answer(
        self, engine: Engine, clip: Stack, log: Path
    ) -> None:
        with Interaction(clip, engine, log=log) as work:
            first = work.add(CLICK)
            assert first.candidates
            for index, (logits, score) in enumerate(first.candidates, start=1):
                found = work.choose(0, 1, index)
                assert np.array_equal(found.mask, logits > 0)
                assert found.score == pytest.approx(score)
            assert np.array_equal(work.choose(0, 1, 0).mask, first.mask)
            work.choose(0, 1, 1)
            list(work.propagate("forward", within=(0, 2)))
            masks = work.masks()
        assert same_runs(resumed(log, clip, engine), masks)

    def test_a_box_leaves_no_choice(self, sam2: Engine, clip: Stack) -> None:
        with Interaction(clip, sam2) as work:
            work.add(DISC)
            with pytest.raises(UsageError, match="0 masks to choose from"):
                work.choose(0, 1, 0)


class TestReplacing:
    def test_a_moved_point_is_as_if_it_had_been_there_from_the_start(
        self, engine: Engine, clip: Stack
    ) -> None:
        with Interaction(clip, engine) as work:
            work.add(CLICK)
            work.add(Point(5, 5, positive=False))
            moved = work.replace(0, 1, [Point(24, 31)])
            assert moved is not None
        with Interaction(clip, engine) as other:
            assert np.array_equal(other.add(Point(24, 31)).mask, moved.mask)

    def test_without_prompts_what_tracking_left_shows_again(
        self, sam2: Engine, clip: Stack, log: Path
    ) -> None:
        with Interaction(clip, sam2, log=log) as work:
            work.add(DISC)
            list(work.propagate("forward"))
            tracked = work.masks().mask(4, 1)
            work.add(Point(70, 50, frame=4))
            assert work.replace(4, 1, []) is None
            assert np.array_equal(work.masks().mask(4, 1), tracked)
            assert work.interval(5, 1) == (1, 7)
            masks = work.masks()
        assert same_runs(resumed(log, clip, sam2), masks)

    def test_prompts_of_another_object_are_refused(self, sam2: Engine, clip: Stack) -> None:
        with Interaction(clip, sam2) as work:
            work.add(DISC)
            with pytest.raises(PromptError, match="belong to object 1"):
                work.replace(0, 1, [Point(20, 30, object_id=2)])


class TestAccepting:
    def test_accepted_masks_stay_as_they_were_shown(
        self, engine: Engine, clip: Stack, log: Path
    ) -> None:
        with Interaction(clip, engine, log=log) as work:
            work.add(MaskPrompt(clip[0] > 100))
            work.add(
                MaskPrompt(clip[0] > 180, object_id=2)
            )  # the same strength: the lower id has shared pixels
            shown = work.masks().labels[0]
            work.accept(0, [1, 2])
            assert np.array_equal(work.masks().labels[0], shown)
            whole = np.ones(clip.size_hw, bool)
            work.add(MaskPrompt(whole, object_id=3))
            after = work.masks().labels[0]
            assert np.array_equal(after[shown > 0], shown[shown > 0])
            assert (after[shown == 0] == 3).all()
            masks = work.masks()
        assert same_runs(resumed(log, clip, engine), masks)

    def test_locked_objects_keep_their_pixels(self, sam2: Engine, clip: Stack) -> None:
        with Interaction(clip, sam2) as work:
            work.add(MaskPrompt(clip[0] > 100, object_id=2))
            work.describe(2, locked=True, colour="#ff0000")
            work.add(MaskPrompt(np.ones(clip.size_hw, bool), object_id=1))
            assert np.array_equal(work.masks().mask(0, 2), clip[0] > 100)
            assert work.objects[2].about == {"locked": True, "colour": "#ff0000"}
            work.describe(2, colour=None)
            assert work.objects[2].about == {"locked": True}

    def test_acceptance_ends_with_a_change_and_can_be_taken_back(
        self, sam2: Engine, clip: Stack
    ) -> None:
        with Interaction(clip, sam2) as work:
            work.add(DISC)
            list(work.propagate("forward"))
            work.accept(4, [1])
            assert work.interval(5, 1) == (5, 7)
            work.accept(4, [1], accepted=False)
            assert work.interval(5, 1) == (1, 7)
            work.accept(4, [1])
            work.add(Point(50, 30, frame=4))
            assert work.objects[1].accepted == set()
            work.undo()
            assert work.objects[1].accepted == {4}


def test_a_preview_is_the_answer_to_come_and_changes_nothing(
    engine: Engine, clip: Stack, log: Path
) -> None:
    with Interaction(clip, engine, log=log) as work:
        work.add(CLICK)
        list(work.propagate("forward", within=(0, 3)))
        before, size = work.masks(), log.read_bytes()
        point = Point(40, 30, frame=2)
        seen = work.preview(point)
        assert same_runs(work.masks(), before)
        assert log.read_bytes() == size
        assert np.array_equal(work.add(point).mask, seen.mask)
        instead = work.preview(Point(24, 31), instead=True)
        replaced = work.replace(0, 1, [Point(24, 31)])
        assert replaced is not None
        assert np.array_equal(replaced.mask, instead.mask)


def test_a_command_that_cannot_be_written_is_not_done(
    sam2: Engine, clip: Stack, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Interaction(clip, sam2, log=log) as work:
        work.add(DISC)
        masks, data = work.masks(), log.read_bytes()

        def full(self: CommandLog, command: object) -> None:
            raise WriteError("no space left")

        monkeypatch.setattr(CommandLog, "append", full)
        steps: list[Callable[[], object]] = [
            lambda: work.add(CLICK),
            lambda: work.remove(1),
            work.undo,
        ]
        for step in steps:
            with pytest.raises(WriteError):
                step()
            assert same_runs(work.masks(), masks)
        monkeypatch.undo()
        assert log.read_bytes() == data
        assert work.undo()
        assert work.redo()
        assert same_runs(work.masks(), masks)


def test_a_propagation_that_was_cancelled_at_once_replays(
    sam2: Engine, clip: Stack, log: Path
) -> None:
    with Interaction(clip, sam2, log=log) as work:
        work.add(DISC)
        list(work.propagate("forward"))
        work.add(Point(70, 50, frame=3))
        frames = work.propagate("both")
        for _ in frames:
            work.cancel()
        work.add(Point(30, 30, frame=5))
        masks = work.masks()
    assert same_runs(resumed(log, clip, sam2), masks)


EXAMPLES: tuple[SessionCommand, ...] = (
    Add((CLICK, DISC, Scribble(((1.5, 2), (3, 4)), 1, 2, False, 5), MaskPrompt(np.eye(3) > 0))),
    Replace(1, 2, (Point(3, 4, 1, 2, False),)),
    Choose(0, 1, 2),
    Clear(3, 1),
    Remove(4),
    Rename(1, "liver"),
    Describe(2, None, {"colour": "#ff0000", "locked": None}),
    Confirm(2, 1),
    Accept(2, (1, 3), False),
    Propagate(PropagationRange("both", 2, (1, 5), StopRules(absent_mm=4.5)), (1, 2), 3),
    Suggest((MaskPrompt(np.eye(3) > 0, 0, 2, score=0.5),), {2: "cell"}, (1,), {"cell": ("ab",)}),
    Reject((1, 2)),
    Review((3,)),
)


def test_every_command_comes_back_from_its_json() -> None:
    assert {type(command) for command in EXAMPLES} == set(COMMANDS)
    for command in (*EXAMPLES, Undo(), Redo()):
        item = json.loads(json.dumps(command.to_json()))
        assert entry_from_json(item) == command


@pytest.mark.parametrize("item", [{"do": "fly"}, {}, {"do": "choose", "frame": 1}])
def test_an_unknown_or_malformed_command_is_refused(item: dict[str, object]) -> None:
    with pytest.raises(ReadError, match="command"):
        entry_from_json(item)


def test_a_prompt_becomes_json_once_and_only_for_the_log(
    sam2: Engine, clip: Stack, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def count(prompt: Prompt) -> dict[str, object]:
        written.append(prompt)
        return prompt_to_json(prompt)

    for module in (command_json, mask_delta):
        monkeypatch.setattr(module, "prompt_to_json", count)
    with Interaction(clip, sam2) as work:
        work.add(CLICK)
        assert written == []
    with Interaction(clip, sam2, log=log) as work:
        work.add(CLICK)
        assert written == [CLICK]
        assert work.objects[1].prompts[0][0] is written[0]
