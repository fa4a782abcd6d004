"""History: the commands of a session in order, with undo, redo, and the log on disk that is the
truth about them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from segscope.errors import UsageError
from segscope.masks import FrameMask
from segscope.session import commands, snapshot
from segscope.session.command_log import (
    CommandLog,
    LoggedCommand,
    LogHeader,
    LogLine,
    Timeline,
    engine_difference,
    utc_now,
)
from segscope.session.commands import Add, LogEntry, Propagate, Redo, Replace, SessionCommand, Undo
from segscope.session.mask_delta import MaskDelta, apply_delta, keep_masks_only, mask_delta
from segscope.session.state import SessionState, StateCheckpoint
from segscope.wire import JsonObject

RECENT_CHECKPOINTS = 200  # latest commands whose states before them are stored ...
CHECKPOINT_INTERVAL = 32  # ... and of earlier ones, every 32nd; those between are computed again

Progress = Callable[[int, int], None]
# a command with the state before it (done) or after it (undone), where that is stored
Entry = tuple[LoggedCommand, StateCheckpoint | None]


class History:
    """What was done in a session.

    Args:
        state: what commands work on.
        header: first line of the log.
        log: file to which each command is written, or None.
        annotator: who works now.

    Attributes:
        propagating: whether a propagation is running.
        recomputed: commands of another engine whose masks the log does not hold, so that they had
            to be computed again.
    """

    def __init__(
        self,
        state: SessionState,
        header: LogHeader,
        log: CommandLog | None,
        annotator: str,
    ) -> None:
        self.state = state
        self.header = header
        self.log = log
        self.annotator = annotator
        self.recomputed = 0
        self._done: list[Entry] = []
        self._undone: list[Entry] = []
        self._era = 0
        self._begins_era = False  # whether the next line has to name a new engine
        self.propagating = False

    @property
    def commands(self) -> tuple[SessionCommand, ...]:
        """The commands that are done and not undone, in order."""
        return tuple(logged.command for logged, _ in self._done)

    @property
    def can_undo(self) -> int:
        """How many commands can be undone."""
        return len(self._done)

    @property
    def can_redo(self) -> int:
        """How many undone commands can be redone."""
        return len(self._undone)

    @property
    def checkpoints(self) -> int:
        """How many commands can be undone without computing anything."""
        return sum(before is not None for _, before in self._done)

    @property
    def earlier_engines(self) -> list[JsonObject]:
        """Identities of the other engines that computed commands in this history."""
        engines: list[JsonObject] = []
        for logged, _ in self._done:
            if logged.from_other_engine and logged.engine not in engines:
                engines.append(logged.engine)
        return engines

    @property
    def from_other_engines(self) -> int:
        """How many of the commands another engine, or another machine, computed."""
        return sum(logged.from_other_engine for logged, _ in self._done)

    # --- doing -----------------------------------------------------------------------------------

    def execute(self, command: SessionCommand) -> FrameMask | None:
        """Do a command completely or not at all, and log it.

        Returns:
            the answer to its last prompt, if it has any.

        Raises:
            PromptError, UsageError: it cannot be done in this state.
            WriteError: the log cannot be written.
        """
        self.check_idle()
        command.check(self.state)
        before = self.state.checkpoint()
        try:
            result = commands.run(command, self.state)
        except BaseException:
            self.state.restore(before)
            raise
        self._commit(command, before)
        return result

    def propagate(self, command: Propagate, cancelled: Callable[[], bool]) -> Iterator[FrameMask]:
        """Do a propagation frame by frame; what was done by the end of the loop is one command."""
        self.check_idle()
        self.propagating = True
        before = self.state.checkpoint()
        self.state.unshare(command.object_ids)
        frame_count = 0
        try:
            for results in command.results(self.state, cancelled):
                frame_count += 1
                yield from results
        finally:
            self.propagating = False
            self._commit(replace(command, frame_count=frame_count), before)

    def undo(self) -> bool:
        """Undo the latest command; False when there is none."""
        if not self._done:
            return False
        self.check_idle()
        if self._done[-1][1] is None:
            self._restore_checkpoints()
        logged, before = self._done[-1]
        assert before is not None
        self._write(Undo())
        self._done.pop()
        self._undone.append((logged, self.state.checkpoint()))
        self.state.restore(before)
        return True

    def redo(self) -> bool:
        """Redo what was undone last; False when there is nothing, or something else was done
        since.
        """
        if not self._undone:
            return False
        self.check_idle()
        logged, after = self._undone[-1]
        before = self.state.checkpoint()
        try:
            if after is None:
                self._reapply(logged)
            else:
                self.state.restore(after)
            self._write(Redo())
        except BaseException:
            self.state.restore(before)
            raise
        self._undone.pop()
        self._done.append((logged, before))
        return True

    def check_idle(self) -> None:
        """Raise UsageError while a propagation is running."""
        if self.propagating:
            raise UsageError(
                "a propagation is running; wait until it ends, or cancel it, before the next "
                "command"
            )

    def _commit(self, command: SessionCommand, before: StateCheckpoint) -> None:
        """Count a command once it is on disk; take it back if it cannot be written."""
        engine = self.header.engine
        era = self._era + self._begins_era
        delta: MaskDelta | None = None
        time = utc_now()
        try:
            if self.log is not None:
                # after commands without masks in the log, a line holds all of them
                whole = bool(self._done) and self._done[-1][0].delta is None
                delta = mask_delta(before.objects, self.state, command, whole=whole)
                new_engine = engine if self._begins_era else None
                self.log.append(LogLine(command, time, self.annotator, delta, new_engine))
        except BaseException:
            self.state.restore(before)
            raise
        self._era = era
        self._begins_era = False
        logged = LoggedCommand(command, delta, engine, time, self.annotator, era)
        self._done.append((logged, before))
        self._undone.clear()
        old = len(self._done) - 1 - RECENT_CHECKPOINTS
        if old >= 0 and old % CHECKPOINT_INTERVAL:
            self._done[old] = (self._done[old][0], None)

    def _write(self, entry: LogEntry) -> None:
        if self.log is not None:
            self.log.append(LogLine(entry, utc_now(), self.annotator))

    # --- doing again -----------------------------------------------------------------------------

    def _reapply(self, logged: LoggedCommand) -> None:
        """Do a command of the log again; masks of other engines come from the log."""
        if logged.from_other_engine and logged.delta is not None:
            apply_delta(self.state.objects, logged.command, logged.delta, self.state.size_hw)
        else:
            commands.run(logged.command, self.state)

    def _restore_checkpoints(self) -> None:
        """Store the states before the latest commands again, computed from the last stored one."""
        present = self.state.checkpoint()
        first = 0
        for number, (_, before) in enumerate(self._done):
            if before is not None:
                first = number
        stored = self._done[first][1]
        if stored is None:
            self.state.reset()
        else:
            self.state.restore(stored)
        last = len(self._done) - 1
        for number in range(first, len(self._done)):
            logged = self._done[number][0]
            self._done[number] = (logged, self.state.checkpoint())
            if number < last:
                self._reapply(logged)
        self.state.restore(present)

    # --- saving and resuming ---------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write the commands that are done to a new log."""
        done = [logged for logged, _ in self._done]
        engine = self.header.engine
        if done:
            engine = done[0].engine
        log = CommandLog.create(path, replace(self.header, engine=engine))
        era = done[0].era if done else 0
        for logged in done:
            new_engine = None
            if logged.era != era:
                new_engine = logged.engine
                era = logged.era
            log.append(
                LogLine(logged.command, logged.time, logged.annotator, logged.delta, new_engine)
            )

    def save_state(self, path: Path) -> None:
        """Write the present state, so that resuming need not compute it again."""
        if not self._begins_era:  # an era without commands has no state yet
            snapshot.save(path, self.state, self.commands, self._era)

    def replay(
        self,
        timeline: Timeline,
        state_file: Path | None,
        progress: Progress | None,
        *,
        other_weights: bool,
    ) -> str:
        """Go to where a log ends.

        Args:
            state_file: a saved state to begin from, if it fits.
            other_weights: accept a log of another engine, and adopt its masks.

        Returns:
            how its engine differs from the present one, where that is not allowed; else "".
        """
        self._era = timeline.era
        difference = engine_difference(timeline.engine, self.state.inference.engine)
        if difference and not other_weights:
            return difference
        done = [
            replace(logged, from_other_engine=logged.era < self._era) for logged in timeline.done
        ]
        if difference or not self._recompute(done, state_file, progress):
            self._adopt_masks(timeline.done, state_file, progress)
        self._undone = [
            (replace(logged, from_other_engine=self._begins_era or logged.era < self._era), None)
            for logged in timeline.undone
        ]
        return ""

    def _recompute(
        self, done: Sequence[LoggedCommand], state_file: Path | None, progress: Progress | None
    ) -> bool:
        """Do the commands of a log again; False where the masks differ from those of the log."""
        known = 0
        if state_file is not None:
            known = snapshot.load(
                state_file, self.state, [logged.command for logged in done], self._era
            )
        self._done = [(logged, None) for logged in done[:known]]
        for number, logged in enumerate(done[known:], start=known + 1):
            before = self.state.checkpoint()
            self._reapply(logged)
            if not logged.from_other_engine and not self._matches_log(logged, before):
                return False
            self._done.append((logged, before))
            if progress is not None:
                progress(number, len(done))
        return True

    def _matches_log(self, logged: LoggedCommand, before: StateCheckpoint) -> bool:
        if logged.delta is None:
            return True
        computed = mask_delta(before.objects, self.state, logged.command, whole=logged.delta.whole)
        return computed.same_masks(logged.delta)

    def _adopt_masks(
        self, done: Sequence[LoggedCommand], state_file: Path | None, progress: Progress | None
    ) -> None:
        """Adopt the masks of a log by another engine or machine; the next command begins an era."""
        self.state.reset()
        self._begins_era = True
        first = 0
        for number, logged in enumerate(done):
            if logged.delta is not None and logged.delta.whole:
                first = number
        # a log that was saved without masks begins from a saved state, if there is one
        if done and done[first].delta is None and state_file is not None:
            first = snapshot.load(
                state_file, self.state, [logged.command for logged in done], self._era
            )
            keep_masks_only(self.state)
        self._done = [(replace(logged, from_other_engine=True), None) for logged in done[:first]]
        for number, logged in enumerate(done[first:], start=first + 1):
            adopted = replace(logged, from_other_engine=True)
            self._done.append((adopted, self.state.checkpoint()))
            self._reapply(adopted)
            if logged.delta is None and _needs_engine(logged.command):
                self.recomputed += 1
            if progress is not None:
                progress(number, len(done))


def _needs_engine(command: SessionCommand) -> bool:
    """Whether the masks of a command are computed by the engine."""
    match command:
        case Add(prompts=prompts) | Replace(prompts=prompts):
            return bool(prompts)
        case Propagate():
            return True
    return False
