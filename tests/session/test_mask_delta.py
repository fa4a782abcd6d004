"""Logs opened with another network: masks stay, and the new network answers later prompts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support.engines import make_engine
from support.sessions import same_runs

from segscope.errors import UsageError
from segscope.masks import Masks
from segscope.models.engine import Engine
from segscope.prompts import Box, MaskPrompt, Point, Scribble
from segscope.session import Interaction
from segscope.session.mask_delta import MaskDelta
from segscope.stack import Stack

CLICK = Point(20, 30)
OTHER = Box((30, 20, 70, 45), 0, 2)


@pytest.fixture(scope="module", params=["sam", "sam2", "mini"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return make_engine(request.param)


@pytest.fixture(scope="module")
def newer(engine: Engine) -> Engine:
    """The same network, trained on."""
    again = make_engine(engine.card.family)
    again.weights_hash = "newer"
    with torch.no_grad():
        for parameter in again.model.parameters():  # type: ignore[attr-defined]
            parameter.mul_(0.9)
    return again


def everything(work: Interaction) -> list[Masks]:
    """One command of each kind; the masks after each."""
    square = np.zeros((60, 80), bool)
    square[10:40, 10:50] = True
    states = []
    steps = [
        lambda: work.add(CLICK),
        lambda: work.choose(0, 1, len(work.objects[1].answers[0].candidates) - 1),
        lambda: work.add(OTHER),
        lambda: work.describe(2, name="spot", colour="#00ff00", code={"value": "1"}),
        lambda: list(work.propagate("forward")),
        lambda: work.add(MaskPrompt(square, 3, 1), Scribble(((60, 10), (70, 14)), 3, 2)),
        lambda: list(work.propagate("both", objects=[1])),
        lambda: work.accept(3, [1]),
        lambda: work.replace(0, 1, [Point(22, 31)]),
        lambda: work.clear(5, 2),
        lambda: work.describe(2, locked=True),
        lambda: work.add(Point(30, 30, 6, 3)),
        lambda: work.remove(3),
    ]
    for step in steps:
        step()
        states.append(work.masks())
    return states


def about(work: Interaction) -> object:
    return {
        i: (
            t.name,
            dict(t.about),
            t.anchors,
            t.accepted,
            {f: [type(p) for p in said] for f, said in t.prompts.items()},
        )
        for i, t in work.objects.items()
    }


def test_masks_and_their_history_stay(
    engine: Engine, newer: Engine, clip: Stack, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    with Interaction(clip, engine, log=log) as work:
        states, said = everything(work), about(work)
    with pytest.raises(UsageError, match="other_weights=True"):
        Interaction.resume(log, clip, newer)
    with Interaction.resume(log, clip, newer, other_weights=True) as again:
        assert same_runs(again.masks(), states[-1])
        assert about(again) == said
        assert again.encoded_frames == 0
        assert again.history.from_other_engines == len(states)
        for masks in states[-2::-1]:
            assert again.undo()
            assert same_runs(again.masks(), masks)
        for masks in states[1:]:
            assert again.redo()
            assert same_runs(again.masks(), masks)
        assert [item["weights"] for item in again.masks().record["earlier_engines"]] == ["random"]
    with Interaction.resume(log, clip, engine) as first:  # nothing was done with the newer one
        assert same_runs(first.masks(), states[-1])
        assert not first.history.from_other_engines


def test_later_commands_are_the_new_networks(
    engine: Engine, newer: Engine, clip: Stack, tmp_path: Path
) -> None:
    log, state = tmp_path / "log.jsonl", tmp_path / "state.safetensors"
    with Interaction(clip, engine, log=log) as work:
        states = everything(work)
        work.undo()
        work.save_state(state)
    with Interaction.resume(log, clip, newer, state=state, other_weights=True) as again:
        assert same_runs(again.masks(), states[-2])
        again.save_state(state)
        again.describe(2, locked=False)
        again.undo()
        again.add(Point(40, 30, 5, 1))
        states.append(again.masks())
        list(again.propagate("both"))
        again.add(Point(12, 31, 0, 1, False))
        states.append(again.masks())
        again.save_state(state)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["engine"]["weights"] for line in lines if "engine" in line] == ["random", "newer"]
    for kind in (None, state):
        for one in (newer, engine):
            with Interaction.resume(log, clip, one, state=kind, other_weights=True) as third:
                assert same_runs(third.masks(), states[-1])
                assert third.undo()
                assert third.undo()
                assert same_runs(third.masks(), states[-2])
                assert third.undo()
                assert same_runs(third.masks(), states[-4])
                assert third.redo()
                assert third.redo()
                assert third.redo()
                assert same_runs(third.masks(), states[-1])
    copied = tmp_path / "copy.jsonl"
    with Interaction.resume(log, clip, newer) as third:
        third.save(copied)
    with Interaction.resume(copied, clip, newer) as third:
        assert same_runs(third.masks(), states[-1])


@pytest.mark.parametrize("saved", [True, False])
def test_logs_without_masks(
    engine: Engine, newer: Engine, clip: Stack, tmp_path: Path, saved: bool
) -> None:
    """Logs saved for sessions without one: a saved state has the masks.

    Without it they are computed again, and that is reported.
    """
    log, state = tmp_path / "log.jsonl", tmp_path / "state.safetensors"
    with Interaction(clip, engine) as work:
        states = everything(work)
        work.save_state(state)
        work.save(log)
    assert "delta" not in log.read_text()
    with Interaction.resume(
        log, clip, newer, state=state if saved else None, other_weights=True
    ) as again:
        assert same_runs(again.masks(), states[-1]) is saved or not saved
        assert bool(again.history.recomputed) is not saved
        again.add(Point(50, 20, 1, 4))
        masks = again.masks()
    for one in (newer, engine):
        with Interaction.resume(log, clip, one, other_weights=True) as third:
            assert same_runs(third.masks(), masks)
            assert not third.history.recomputed


def test_a_machine_that_computes_other_masks(clip: Stack, tmp_path: Path) -> None:
    engine, log = make_engine("sam2"), tmp_path / "log.jsonl"
    with Interaction(clip, engine, log=log) as work:
        states = everything(work)
    with torch.no_grad():
        for parameter in engine.model.parameters():
            parameter.mul_(0.9)
    with Interaction.resume(log, clip, engine) as again:
        assert same_runs(again.masks(), states[-1])
        assert again.history.from_other_engines
        again.add(Point(40, 30, 5, 1))
        masks = again.masks()
    with Interaction.resume(log, clip, engine) as again:
        assert same_runs(again.masks(), masks)
        assert again.encoded_frames


def test_a_record_holds_what_changed_only(clip: Stack, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with Interaction(clip, make_engine("sam2"), log=log) as work:
        for number in range(1, 9):
            work.add(Box((2 + 8 * number, 5, 9 + 8 * number, 12), 0, number))
        work.rename(1, "one")
    *_, eighth, name = [json.loads(line)["delta"] for line in log.read_text().splitlines()[1:]]
    assert "8" in eighth["objects"]
    assert name["objects"] == {"1": {"name": "one"}}
    assert MaskDelta.from_json(name).same_masks(MaskDelta(False, {}, name["runs"]))
