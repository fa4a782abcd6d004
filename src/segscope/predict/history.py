"""History: the commands on a scene in order, with undo, redo, and the log on disk that is the truth of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from segscope.errors import UsageError
from segscope.masks import FrameMask
from segscope.predict import commands, saved
from segscope.predict.compose import Overlap
from segscope.predict.journal import Command, Journal
from segscope.predict.scene import Scene
from segscope.predict.track import Track
from segscope.predict.view import View

KEPT_STATES = 200  # latest commands that undo takes back at once ...
KEPT_EVERY = 32  # ... and of earlier ones, every so many; those between are run again

Tracks = dict[int, Track]
State = tuple[Tracks, View]  # the view belongs to it: it says what later tracking looks at


class History:
    """What was done on a scene, and what it led to.

    Args:
        scene: what commands work on.
        header: first line of the log: what makes the commands mean the same again.
        overlap: how overlaps are settled.
        log: file to write each command to as it is made; a new file.
    """

    def __init__(self, scene: Scene, header: Command, overlap: Overlap, log: Path | None) -> None:
        self._scene, self._header, self.overlap = scene, header, overlap
        self._tracks: Tracks = {}
        self._done: list[tuple[Command, State | None]] = []  # each command with the state before it, where it is known
        self._undone: list[tuple[Command, State | None]] = []  # with the state after it, where it is known
        self._running = False
        self._journal = None if log is None else Journal(log, header)

    @property
    def log(self) -> tuple[Command, ...]:
        """The commands that count, in order."""
        return tuple(command for command, _ in self._done)

    @property
    def tracks(self) -> Mapping[int, Track]:
        """What is known of each object. To look at, not to change."""
        return MappingProxyType(self._tracks)

    @property
    def running(self) -> bool:
        """Whether a propagation is under way."""
        return self._running

    def undo(self) -> bool:
        """Take back the latest command; False when there is none."""
        if not self._done:
            return False
        self._idle()
        if self._done[-1][1] is None:
            self._rebuild()
        command, before = self._done[-1]
        assert before is not None
        self._log({"do": "undo"})
        self._done.pop()
        self._undone.append((command, self._state()))
        self._restore(before)
        return True

    def redo(self) -> bool:
        """Do again what was undone last; False when there is nothing, or something else was done since."""
        if not self._undone:
            return False
        self._idle()
        command, after = self._undone[-1]
        before = self._state()
        try:
            if after is None:
                self._replay(command)
            else:
                self._restore(after)
            self._log({"do": "redo"})
        except BaseException:
            self._restore(before)
            raise
        self._undone.pop()
        self._done.append((command, before))
        return True

    @property
    def can_undo(self) -> int:
        """How many commands could be taken back."""
        return len(self._done)

    @property
    def can_redo(self) -> int:
        """How many undone commands could be done again."""
        return len(self._undone)

    def save(self, path: Path | str) -> None:
        """Write the log to a new file, from which `resume` re-creates everything."""
        journal = Journal(Path(path), self._header)
        for command, _ in self._done:
            journal.append(command)

    def save_state(self, path: Path | str) -> None:
        """Write what the commands led to, so that `resume` need not run them again. The log stays the truth."""
        saved.save(Path(path), self._scene, self._tracks, self.log)

    # --- how a command is done --------------------------------------------------------------------------------------

    def _replay(self, command: Command) -> FrameMask | None:
        return commands.run(self._scene, self._tracks, command, self.overlap)

    def _rebuild(self) -> None:
        """Find the state before the latest command by running the commands since the last known state again."""
        now = self._state()
        first = max((number for number, (_, before) in enumerate(self._done) if before is not None), default=None)
        known = ({}, View.whole(self._scene.stack.size_hw)) if first is None else self._done[first][1]
        assert known is not None
        self._restore(known)
        for number in range(first or 0, len(self._done)):
            command = self._done[number][0]
            self._done[number] = (command, self._state())
            if number < len(self._done) - 1:
                self._replay(command)
        self._restore(now)

    def _run(self, command: Command) -> FrameMask | None:
        """Do a command whole or not at all, and log it."""
        self._idle()
        before = self._state()
        try:
            result = self._replay(command)
        except BaseException:
            self._restore(before)
            raise
        self._finish(command, before)
        return result

    def _finish(self, command: Command, before: State) -> None:
        """A command counts once it is on disk."""
        try:
            self._log(command)
        except BaseException:
            self._restore(before)
            raise
        self._done.append((command, before))
        self._undone.clear()
        old = len(self._done) - 1 - KEPT_STATES
        if old >= 0 and old % KEPT_EVERY:
            self._done[old] = (self._done[old][0], None)

    def _state(self) -> State:
        return dict(self._tracks), self._scene.view  # commands copy the tracks that they change

    def _restore(self, state: State) -> None:
        tracks, self._scene.view = state
        self._tracks = dict(tracks)

    def _log(self, command: Command) -> None:
        if self._journal is not None:
            self._journal.append(command)

    def _idle(self) -> None:
        if self._running:
            raise UsageError("a propagation is under way; let it end, or cancel it, before the next command")
