"""A session is shown from its log, without the network; what the network needs comes later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.sessions import run, same_runs

from segscope.errors import Cancelled
from segscope.models.engine import Engine
from segscope.prompts import Box, Point
from segscope.session import Interaction
from segscope.session.replay import Replayed
from segscope.stack import Stack

DISC = Box((10, 20, 30, 40))
SPOT = Box((59, 6, 71, 18), object_id=2)
NETWORK = ("encode", "encode_together", "decode", "attend", "remember", "remember_masks")


def refuse(*_: Any, **__: Any) -> Any:
    raise AssertionError("the network was used")


@pytest.fixture
def log(sam2: Engine, clip: Stack, tmp_path: Path) -> Path:
    """A log with prompts, two propagations, an undo, and a name."""
    path = tmp_path / "log.jsonl"
    with Interaction(clip, sam2, log=path, annotator="anna") as work:
        work.add(DISC)
        work.add(SPOT)
        run(work, direction="forward")
        work.add(Point(25, 25, frame=3, positive=False))
        run(work, direction="both")
        work.rename(2, "spot")
        work.add(Point(5, 5, object_id=3))
        work.undo()
        work.save_state(path.with_suffix(".final"))
    return path


def stop_network(monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
    for name in NETWORK:
        monkeypatch.setattr(engine, name, refuse)


def test_opening_shows_the_masks_without_the_network(
    sam2: Engine, clip: Stack, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Interaction.resume(log, clip, sam2) as work:
        expected = work.masks()
    with monkeypatch.context() as context:
        stop_network(context, sam2)
        shown = Interaction.resume(log, clip, sam2, masks_first=True)
        assert same_runs(shown.masks(), expected)
        assert shown.masks().names == expected.names
        assert (shown.can_undo, shown.can_redo) == (6, 1)
        assert shown.history.is_pending
        shown.save_state(log.with_suffix(".none"))
        assert not log.with_suffix(".none").exists()  # it would not be the state of the network
        with pytest.raises(AssertionError, match="the network was used"):
            shown.add(DISC)
    shown.close()


def test_later_commands_give_what_they_would_have_given(
    sam2: Engine, clip: Stack, log: Path
) -> None:
    steps = (
        lambda work: work.add(Point(30, 30, frame=5)),
        lambda work: run(work, direction="both"),
        lambda work: work.undo(),
        lambda work: work.undo(),
        lambda work: work.undo(),
        lambda work: work.preview(Point(22, 33, frame=2)),
    )
    other = log.with_name("other.jsonl")
    other.write_bytes(log.read_bytes())
    with (
        Interaction.resume(log, clip, sam2) as slow,
        Interaction.resume(other, clip, sam2, masks_first=True) as quick,
    ):
        for step in steps:
            step(slow)
            step(quick)
            assert same_runs(quick.masks(), slow.masks())
            assert quick.masks().scores == slow.masks().scores
        assert not quick.history.from_other_engines
        slow.redo()
        quick.redo()
        assert same_runs(quick.masks(), slow.masks())


def test_what_is_computed_behind_changes_nothing_until_it_is_installed(
    sam2: Engine, clip: Stack, log: Path
) -> None:
    with Interaction.resume(log, clip, sam2, masks_first=True) as work:
        masks = work.masks()
        calls = []
        replayed = work.history.replay_pending(lambda done, total: calls.append((done, total)))
        assert calls[0] == (0, 6)
        assert calls[-1] == (6, 6)
        assert len(calls) > 16  # between the frames of propagations, too
        assert work.history.is_pending
        assert same_runs(work.masks(), masks)
        work.history.install(replayed)
        assert not work.history.is_pending
        assert same_runs(work.masks(), masks)
        assert work.history.checkpoints == 6


def test_it_can_be_given_up_and_begun_again(sam2: Engine, clip: Stack, log: Path) -> None:
    def stop(done: int, _total: int) -> None:
        if done == 3:
            raise Cancelled("closed")

    with Interaction.resume(log, clip, sam2, masks_first=True) as work:
        masks = work.masks()
        with pytest.raises(Cancelled):
            work.history.replay_pending(stop)
        work.history.complete()
        assert same_runs(work.masks(), masks)


def test_other_masks_than_those_of_the_log_are_not_taken(
    sam2: Engine, clip: Stack, log: Path
) -> None:
    with Interaction.resume(log, clip, sam2, masks_first=True) as work:
        masks = work.masks()
        work.history.install(Replayed((), None))
        assert same_runs(work.masks(), masks)
        assert work.history.from_other_engines == 6
        work.add(Point(30, 30, frame=5))
    with Interaction.resume(log, clip, sam2) as again:
        assert len(again.log) == 7


def test_a_saved_state_is_gone_on_from(
    sam2: Engine, clip: Stack, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Interaction.resume(log, clip, sam2, state=log.with_suffix(".final")) as work:
        work.add(Point(33, 33, frame=6))
        masks = work.masks()
    with monkeypatch.context() as context:
        stop_network(context, sam2)
        shown = Interaction.resume(
            log, clip, sam2, state=log.with_suffix(".final"), masks_first=True
        )
        assert same_runs(shown.masks(), masks)
    calls = []
    shown.history.complete(lambda done, total: calls.append((done, total)))
    assert calls == [(6, 7), (7, 7)]
    assert same_runs(shown.masks(), masks)
    shown.close()
