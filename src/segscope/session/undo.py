"""History: the commands of a session in order, with undo, redo, and the log on disk that is the
truth about them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from segscope.errors import UsageError
from segscope.masks import FrameMask
from segscope.session import snapshot
from segscope.session.command_log import CommandLog
from segscope.session.commands import LogEntry, Propagate, Redo, SessionCommand, Undo
from segscope.session.entries import run
from segscope.session.identity import engine_difference
from segscope.session.log_lines import LogHeader, LogLine, utc_now
from segscope.session.mask_delta import MaskDelta, apply_delta, keep_masks_only, mask_delta
from segscope.session.replay import (
    Entry,
    Pause,
    PendingReplay,
    Replayed,
    ResumeOptions,
    needs_engine,
    no_pause,
    reapply,
    replay_commands,
    restore_checkpoints,
)
from segscope.session.state import SessionState, StateCheckpoint
from segscope.session.timeline import LoggedCommand, Timeline, write_log
from segscope.wire import JsonObject

RECENT_CHECKPOINTS = 200  # latest commands whose states before them are stored ...
CHECKPOINT_INTERVAL = 32  # ... and of earlier ones, every 32nd; those between are computed again

CHECKPOINT_RESULTS = 100_000  # an image has one result a command, so that nearly all are stored


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
        self._pending: PendingReplay | None = None
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
        return self.execute_all([command])

    def execute_all(self, sequence: Sequence[SessionCommand]) -> FrameMask | None:
        """Do several commands, all of them or none, and log them; the answer of the last one.

        Raises:
            as `execute` does.
        """
        self._prepare()
        first = self.state.checkpoint()
        result = None
        steps: list[Entry] = []
        try:
            for command in (each.learn(self.state) for each in sequence):
                command.check(self.state)
                before = self.state.checkpoint()
                result = run(command, self.state)
                steps.append(self._describe_step(command, before, follows=bool(steps)))
            self._commit(steps)
        except BaseException:
            self.state.restore(first)
            raise
        return result

    def propagate(self, command: Propagate, cancelled: Callable[[], bool]) -> Iterator[FrameMask]:
        """Do a propagation frame by frame; what was done by the end of the loop is one command."""
        self._prepare()
        command = command.learn(self.state)
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
            try:
                step = self._describe_step(replace(command, frame_count=frame_count), before)
                self._commit([step])
            except BaseException:
                self.state.restore(before)
                raise

    def undo(self) -> bool:
        """Undo the latest command; False when there is none."""
        if not self._done:
            return False
        self._prepare()
        if self._done[-1][1] is None:
            restore_checkpoints(self.state, self._done)
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
        self._prepare()
        logged, after = self._undone[-1]
        before = self.state.checkpoint()
        try:
            if after is None:
                reapply(logged, self.state)
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

    def _prepare(self) -> None:
        self.check_idle()
        self.complete()

    def _describe_step(
        self, command: SessionCommand, before: StateCheckpoint, *, follows: bool = False
    ) -> Entry:
        """A command that was just run, as the log has it.

        Args:
            follows: it is logged together with commands before it.
        """
        delta: MaskDelta | None = None
        if self.log is not None:
            # after commands without masks in the log, a line holds all of them
            whole = bool(self._done) and self._done[-1][0].delta is None and not follows
            delta = mask_delta(before.objects, self.state, command, whole=whole)
        era = self._era + self._begins_era
        engine = self.header.engine
        return LoggedCommand(command, delta, engine, utc_now(), self.annotator, era), before

    def _commit(self, steps: Sequence[Entry]) -> None:
        """Count commands once they are on disk."""
        if self.log is not None:
            lines = []
            for number, (logged, _) in enumerate(steps):
                new_engine = None
                if self._begins_era and number == 0:
                    new_engine = logged.engine
                lines.append(logged.line(new_engine))
            self.log.append(*lines)
        self._era += self._begins_era
        self._begins_era = False
        for step in steps:
            self._done.append(step)
            self._thin_checkpoints()
        self._undone.clear()

    def _thin_checkpoints(self) -> None:
        frames = len(self.state.inference.stack)
        recent = max(RECENT_CHECKPOINTS, CHECKPOINT_RESULTS // frames)
        old = len(self._done) - 1 - recent
        if old >= 0 and old % CHECKPOINT_INTERVAL:
            self._done[old] = (self._done[old][0], None)

    def _write(self, entry: LogEntry) -> None:
        if self.log is not None:
            self.log.append(LogLine(entry, utc_now(), self.annotator))

    # --- saving and resuming ---------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write the commands that are done to a new log."""
        write_log(path, self.header, [logged for logged, _ in self._done])

    def save_state(self, path: Path) -> None:
        """Write the present state, so that resuming need not compute it again."""
        # an era without commands has no state yet, and neither have masks without network states
        if not self._begins_era and not self.is_pending:
            snapshot.save(path, self.state, self.commands, self._era)

    def resume(
        self,
        timeline: Timeline,
        state_file: Path | None,
        progress: Pause | None,
        options: ResumeOptions,
    ) -> str:
        """Go to where a log ends.

        Args:
            state_file: a saved state to begin from, if it fits.

        Returns:
            how its engine differs from the present one, where that is not allowed; else "".
        """
        self._era = timeline.era
        difference = engine_difference(timeline.engine, self.state.inference.engine)
        if difference and not options.other_weights:
            return difference
        self._undone = _without_checkpoints(timeline.undone)
        if difference:
            self._adopt_masks(timeline.done, state_file, progress)
            return ""
        done = self._mark_engines(timeline.done)
        known = self._load_state(done, state_file)
        self._done = _without_checkpoints(done[:known])
        self._undone = _without_checkpoints(self._mark_engines(timeline.undone))
        if known == len(done):
            return ""
        self._pending = PendingReplay(done, known, self.state.checkpoint(), state_file)
        if options.masks_first and all(logged.delta is not None for logged in done[known:]):
            self._show_logged_masks(done[known:])
        else:
            self.complete(progress or no_pause)
        return ""

    def _mark_engines(self, commands: Sequence[LoggedCommand]) -> list[LoggedCommand]:
        return [replace(logged, from_other_engine=logged.era < self._era) for logged in commands]

    def _load_state(self, done: Sequence[LoggedCommand], state_file: Path | None) -> int:
        """Begin from a saved state; how many of the commands it stands for."""
        if state_file is None:
            return 0
        commands_done = [logged.command for logged in done]
        return snapshot.load(state_file, self.state, commands_done, self._era)

    def _show_logged_masks(self, done: Sequence[LoggedCommand]) -> None:
        for logged in done:
            assert logged.delta is not None
            apply_delta(self.state.objects, logged.command, logged.delta, self.state.size_hw)
            self._done.append((logged, None))

    # --- network states behind the masks of a log ------------------------------------------------

    @property
    def is_pending(self) -> bool:
        """Whether masks came from the log whose network states are still to be computed."""
        return self._pending is not None

    def complete(self, pause: Pause = no_pause) -> None:
        """Compute the network states that are still missing; the next command needs them."""
        if self._pending is not None:
            self.install(self.replay_pending(pause))

    def replay_pending(self, pause: Pause) -> Replayed:
        """Do the commands again whose network states are missing. It changes nothing, so that the
        masks can be read meanwhile.

        Raises:
            Cancelled: by `pause`.
        """
        if self._pending is None:
            return Replayed((), None)
        return replay_commands(self.state, self._pending, pause)

    def install(self, replayed: Replayed) -> None:
        """Take over what `replay_pending` computed, or the masks of the log where those differ."""
        pending = self._pending
        if pending is None:
            return
        if replayed.after is None:
            self.adopt_log()
            return
        self._done[pending.known :] = replayed.entries
        self.state.restore(replayed.after)
        self._pending = None

    def adopt_log(self) -> None:
        """Let the masks of the log count instead of computing network states."""
        pending = self._pending
        if pending is None:
            return
        self._pending = None
        self._adopt_masks(pending.logged, pending.state_file, None)

    def _adopt_masks(
        self, done: Sequence[LoggedCommand], state_file: Path | None, progress: Pause | None
    ) -> None:
        """Adopt the masks of a log by another engine or machine; the next command begins an era."""
        self.state.reset()
        self._begins_era = True
        first = 0
        for number, logged in enumerate(done):
            if logged.delta is not None and logged.delta.whole:
                first = number
        # a log that was saved without masks begins from a saved state, if there is one
        if done and done[first].delta is None:
            first = self._load_state(done, state_file)
            keep_masks_only(self.state)
        self._done = _without_checkpoints(map(_of_other_engine, done[:first]))
        for number, logged in enumerate(done[first:], start=first):
            computed = logged.delta is None and needs_engine(logged.command)
            if progress is not None and computed:
                progress(number, len(done))
            adopted = _of_other_engine(logged)
            self._done.append((adopted, self.state.checkpoint()))
            reapply(adopted, self.state)
            self.recomputed += computed
        undone = (_of_other_engine(logged) for logged, _ in self._undone)
        self._undone = _without_checkpoints(undone)


def _of_other_engine(logged: LoggedCommand) -> LoggedCommand:
    return replace(logged, from_other_engine=True)


def _without_checkpoints(commands: Iterable[LoggedCommand]) -> list[Entry]:
    """Commands whose states are computed again when they are needed."""
    return [(logged, None) for logged in commands]
