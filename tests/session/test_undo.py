"""Undo and redo, also across a restart and past the stored checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.sessions import run, same

from segscope.models.engine import Engine
from segscope.prompts import Box, Point
from segscope.session import Interaction, undo
from segscope.stack import Stack

DISC = Box((10, 20, 30, 40))
SPOT = Box((59, 6, 71, 18), object_id=2)


class TestUndo:
    def test_each_step_goes_back_and_forth(self, sam2: Engine, clip: Stack) -> None:
        with Interaction(clip, sam2) as work:
            states = [work.masks()]
            steps = [
                lambda: work.add(DISC),
                lambda: run(work, direction="forward"),
                lambda: work.add(Point(30, 30, frame=4)),
                lambda: work.rename(1, "disc"),
                lambda: run(work, direction="forward", start=4),
                lambda: work.clear(4, 1),
                lambda: work.remove(1),
            ]
            for step in steps:
                step()
                states.append(work.masks())
            for state in reversed(states[:-1]):
                assert work.undo()
                assert same(work.masks(), state)
            assert not work.undo()
            for state in states[1:]:
                assert work.redo()
                assert same(work.masks(), state)
            assert not work.redo()

    def test_undone_steps_survive_a_restart(
        self, sam2: Engine, clip: Stack, tmp_path: Path
    ) -> None:
        log = tmp_path / "log.jsonl"
        with Interaction(clip, sam2, log=log) as work:
            work.add(DISC)
            one = work.masks()
            work.add(SPOT)
            two = work.masks()
            work.undo()
        with Interaction.resume(log, clip, sam2) as again:
            assert same(again.masks(), one)
            assert again.redo()
            assert same(again.masks(), two)

    def test_a_new_step_forgets_what_was_undone(self, sam2: Engine, clip: Stack) -> None:
        with Interaction(clip, sam2) as work:
            work.add(DISC)
            work.undo()
            work.add(SPOT)
            assert not work.redo()


def test_undo_goes_back_past_the_checkpoints_that_are_stored(
    sam2: Engine, clip: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(undo, "CHECKPOINT_RESULTS", 1)
    monkeypatch.setattr(undo, "RECENT_CHECKPOINTS", 3)
    monkeypatch.setattr(undo, "CHECKPOINT_INTERVAL", 4)
    with Interaction(clip, sam2) as work:
        states = [work.masks()]
        for number in range(11):
            work.add(Point(10 + 3 * number, 30, frame=number % 2, object_id=1 + number % 3))
            states.append(work.masks())
        assert work.history.can_undo - work.history.checkpoints > 3
        for masks in reversed(states[:-1]):
            assert work.undo()
            assert same(work.masks(), masks)


def test_it_holds_versions_prompts_and_commands(sam2: Engine, clip: Stack) -> None:
    with Interaction(clip, sam2) as work:
        work.add(Box((10, 20, 30, 40)))
        work.rename(1, "disc")
        record = work.record()
    assert record["engine"]["model"] == sam2.card.name
    (entry,) = record["prompts"]["objects"]
    assert (entry["label"], entry["prompts"][0]["type"]) == ("disc", "box")
    assert record["commands"] == [{"do": "rename", "object_id": 1, "name": "disc"}]
    assert "earlier_engines" not in record
    json.dumps(record)
