"""Saved states: they spare computing a log again, and nothing depends on them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from support.sessions import resumed, same_runs

from segscope.models.engine import Engine
from segscope.prompts import Box, Point
from segscope.session import Interaction, snapshot
from segscope.session.commands import Remove
from segscope.stack import Stack

DISC = Box((10, 20, 30, 40))
CLICK = Point(20, 30)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


class TestSavedState:
    def test_it_stands_for_its_commands(
        self, engine: Engine, clip: Stack, tmp_path: Path, log: Path
    ) -> None:
        state = tmp_path / "state.safetensors"
        with Interaction(clip, engine, log=log) as work:
            work.add(CLICK)
            work.choose(0, 1, 1)
            work.describe(1, colour="#00ff00")
            list(work.propagate("forward"))
            work.save_state(state)
            states = [work.masks()]
            for step in (
                lambda: work.add(Point(40, 30, frame=5)),
                lambda: list(work.propagate("both")),
            ):
                step()
                states.append(work.masks())
            encoded = work.encoded_frames
        with Interaction.resume(log, clip, engine, state=state) as again:
            assert again.encoded_frames < encoded
            assert same_runs(again.masks(), states[-1])
            assert again.objects[1].about == {"colour": "#00ff00"}
            for masks in (states[1], states[0]):
                assert again.undo()
                assert same_runs(again.masks(), masks)
            while again.undo():
                pass
            assert not again.masks().runs
            while again.redo():
                pass
            assert same_runs(again.masks(), states[-1])

    @pytest.mark.skipif(os.name != "posix", reason="this system has no such modes")
    def test_its_mode_is_that_of_the_umask(self, sam2: Engine, clip: Stack, tmp_path: Path) -> None:
        state = tmp_path / "state.safetensors"
        before = os.umask(0o007)
        try:
            with Interaction(clip, sam2) as work:
                work.add(CLICK)
                work.save_state(state)
        finally:
            os.umask(before)
        assert stat.S_IMODE(state.stat().st_mode) == 0o660

    @pytest.mark.parametrize("harm", ["undone", "damaged", "missing"])
    def test_one_that_does_not_fit_is_not_used(
        self, sam2: Engine, clip: Stack, tmp_path: Path, log: Path, harm: str
    ) -> None:
        state = tmp_path / "state.safetensors"
        with Interaction(clip, sam2, log=log) as work:
            work.add(DISC)
            work.add(Point(40, 30, frame=5))
            work.save_state(state)
            if harm == "undone":
                work.undo()
                work.add(CLICK)
            masks = work.masks()
        if harm == "damaged":
            state.write_bytes(state.read_bytes()[:200])
        if harm == "missing":
            state.unlink()
        assert same_runs(resumed(log, clip, sam2, state), masks)

    def test_a_digest_tells_commands_apart(self) -> None:
        assert snapshot.digest([Remove(1)]) != snapshot.digest([Remove(2)])
