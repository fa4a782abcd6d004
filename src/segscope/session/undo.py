"""History: the commands on a scene in order, with undo, redo, and the log on disk that is the truth
of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from segscope.errors import UsageError
from segscope.inference.crop import Crop
from segscope.masks import FrameMask, Runs
from segscope.predict.object_state import FrameResult, ObjectState
from segscope.predict.overlaps import Overlap, settled
from segscope.predict.state import InferenceState
from segscope.session import commands, mask_delta, snapshot
from segscope.session.command_log import Command, Journal, Step, differs

KEPT_STATES = 200  # latest commands that undo takes back at once ...
KEPT_EVERY = 32  # ... and of earlier ones, every so many; those between are run again

Tracks = dict[int, ObjectState]
State = tuple[Tracks, Crop]  # the view belongs to it: it says what later tracking looks at
Found = tuple[list[Step], list[Step], Command, int]  # what `journal.steps` gives
Progress = Callable[[int, int], None]
Look = list[tuple[int, FrameResult, bool, bool]]  # all that the masks shown on a frame follow from


class History:
    """What was done on a scene, and what it led to.

    Args:
        scene: what commands work on.
        header: first line of the log: what makes the commands mean the same again.
        overlap: how overlaps are settled.
        log: file to write each command to as it is made; a new file.
    """

    def __init__(
        self, scene: InferenceState, header: Command, overlap: Overlap, log: Path | None
    ) -> None:
        self._scene = scene
        self._header = header
        self.overlap = overlap
        self._tracks: Tracks = {}
        self._done: list[
            tuple[Step, State | None]
        ] = []  # each step with the state before it, where it is known
        self._undone: list[
            tuple[Step, State | None]
        ] = []  # with the state after it, where it is known
        self._era, self._new_era = 0, False  # of the log; whether the next line begins one
        self._settled: dict[int, tuple[Look, dict[int, Runs]]] = {}
        self.answered_anew = 0  # steps of another network that the log holds no masks of
        self._running = False
        self._journal = None if log is None else Journal(log, header)

    @property
    def log(self) -> tuple[Command, ...]:
        """The commands that count, in order."""
        return tuple(step.command for step, _ in self._done)

    @property
    def tracks(self) -> Mapping[int, ObjectState]:
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
        step, before = self._done[-1]
        assert before is not None
        self._log({"do": "undo"})
        self._done.pop()
        self._undone.append((step, self._state()))
        self._restore(before)
        return True

    def redo(self) -> bool:
        """Do again what was undone last; False when there is nothing, or something else was done
        since.
        """
        if not self._undone:
            return False
        self._idle()
        step, after = self._undone[-1]
        before = self._state()
        try:
            if after is None:
                self._again(step)
            else:
                self._restore(after)
            self._log({"do": "redo"})
        except BaseException:
            self._restore(before)
            raise
        self._undone.pop()
        self._done.append((step, before))
        return True

    @property
    def can_undo(self) -> int:
        """How many commands could be taken back."""
        return len(self._done)

    @property
    def can_redo(self) -> int:
        """How many undone commands could be done again."""
        return len(self._undone)

    @property
    def earlier_engines(self) -> list[Command]:
        """Identities of the other networks, or other machines, that made steps which count."""
        found: list[Command] = []
        for step, _ in self._done:
            if step.foreign and step.maker not in found:
                found.append(step.maker)
        return found

    @property
    def foreign_steps(self) -> int:
        """How many of the steps that count another network, or another machine, made."""
        return sum(step.foreign for step, _ in self._done)

    def save(self, path: Path | str) -> None:
        """Write the log to a new file, from which `resume` re-creates everything."""
        steps = [step for step, _ in self._done]
        if steps:
            first = steps[0]
        else:
            first = Step({}, None, self._header["engine"])
        journal = Journal(Path(path), {**self._header, "engine": first.maker})
        for before, step in zip([first, *steps], steps, strict=False):
            if step.kept is None:
                led = {}
            else:
                led = {"kept": step.kept}
            if step.era == before.era:
                by = {}
            else:
                by = {"engine": step.maker}
            journal.append({**step.command, **led, **by})

    def save_state(self, path: Path | str) -> None:
        """Write what the commands led to, so that `resume` need not run them again. The log stays
        the truth.
        """
        if not self._new_era:  # until its first command a new era has nothing of its own
            snapshot.save(Path(path), self._scene, self._tracks, self.log, self._era)

    # --- beginning from a log --------------------------------------------------------------------

    def _continue(
        self, found: Found, state: Path | None, progress: Progress | None, other_weights: bool
    ) -> str:
        """Come to where a log ends; how its engine differs from this one, where that is not
        allowed.
        """
        done, undone, maker, self._era = found
        change = differs(maker, self._scene.engine)
        if change and not other_weights:
            return change
        marked = [replace(step, foreign=step.era < self._era) for step in done]
        if change or not self._run_again(marked, state, progress):
            self._take_over(done, state, progress)
        self._undone = [
            (replace(step, foreign=self._new_era or step.era < self._era), None) for step in undone
        ]
        return ""

    def _run_again(self, done: list[Step], state: Path | None, progress: Progress | None) -> bool:
        """Do the steps of a log; False where the masks are not those that the log has."""
        said = [step.command for step in done]
        if state is None:
            known = 0
        else:
            known = snapshot.load(state, self._scene, self._tracks, said, self._era)
        self._done = [(step, None) for step in done[:known]]
        for number, step in enumerate(done[known:], start=known + 1):
            before = self._state()
            self._again(step)
            if step.kept is not None and not step.foreign:
                whole = step.kept["whole"]
                made = mask_delta.difference(
                    before[0], self._tracks, step.command, self._shown, whole=whole
                )
                if not mask_delta.agree(made, step.kept):
                    return False
            self._done.append((step, before))
            if progress is not None:
                progress(number, len(done))
        return True

    def _take_over(self, done: list[Step], state: Path | None, progress: Progress | None) -> None:
        """Take the masks of a log that another engine or machine made; the next command begins an
        era.
        """
        self._restore(({}, Crop.whole(self._scene.stack.size_hw)))
        self._new_era = True
        size_hw = self._scene.stack.size_hw
        first = max(
            (number for number, step in enumerate(done) if step.kept and step.kept["whole"]),
            default=0,
        )
        if (
            done and done[first].kept is None and state is not None
        ):  # logs of earlier versions hold no masks
            first = snapshot.load(
                state, self._scene, self._tracks, [step.command for step in done], self._era
            )
            mask_delta.bare(self._tracks, size_hw, self._shown)
            self._scene.view = Crop.whole(size_hw)
        self._done = [(replace(step, foreign=True), None) for step in done[:first]]
        for number, step in enumerate(done[first:], start=first + 1):
            taken = replace(step, foreign=True)
            self._done.append((taken, self._state()))
            self._again(taken)
            by_network = step.command.get("prompts") or step.command["do"] == "propagate"
            self.answered_anew += step.kept is None and bool(by_network)
            if progress is not None:
                progress(number, len(done))

    # --- how a command is done -------------------------------------------------------------------

    def _replay(self, command: Command) -> FrameMask | None:
        return commands.run(self._scene, self._tracks, command, self.overlap)

    def _again(self, step: Step) -> None:
        """Do a step of the log: what another engine made is taken as the log has it."""
        if step.foreign and step.kept is not None:
            mask_delta.apply(self._tracks, step.command, step.kept, self._scene.stack.size_hw)
        else:
            self._replay(step.command)

    def _shown(self, tracks: Mapping[int, ObjectState], frame: int) -> dict[int, Runs]:
        """Masks on a frame with overlaps settled; the latest are kept, as they are asked for more
        than once.
        """
        look = [
            (object_id, track.answers[frame], track.locked, frame in track.accepted)
            for object_id, track in tracks.items()
            if frame in track.answers
        ]
        if frame not in self._settled or self._settled[frame][0] != look:
            self._settled[frame] = look, settled(self._scene, tracks, frame, self.overlap)
        return self._settled[frame][1]

    def _rebuild(self) -> None:
        """Find the state before the latest command by running the commands since the last known
        state again.
        """
        now = self._state()
        first = max(
            (number for number, (_, before) in enumerate(self._done) if before is not None),
            default=None,
        )
        if first is None:
            known = ({}, Crop.whole(self._scene.stack.size_hw))
        else:
            known = self._done[first][1]
        assert known is not None
        self._restore(known)
        for number in range(first or 0, len(self._done)):
            step = self._done[number][0]
            self._done[number] = (step, self._state())
            if number < len(self._done) - 1:
                self._again(step)
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
        maker = self._header["engine"]
        step = Step(command, None, maker, self._era + self._new_era)
        try:
            if self._journal is not None:
                step = replace(step, kept=self._difference(command, before[0]))
                if self._new_era:
                    by = {"engine": maker}
                else:
                    by = {}
                self._log({**command, "kept": step.kept, **by})
        except BaseException:
            self._restore(before)
            raise
        self._era = step.era
        self._new_era = False
        self._done.append((step, before))
        self._undone.clear()
        old = len(self._done) - 1 - KEPT_STATES
        if old >= 0 and old % KEPT_EVERY:
            self._done[old] = (self._done[old][0], None)

    def _difference(self, command: Command, before: Tracks) -> Command:
        whole = bool(self._done) and self._done[-1][0].kept is None
        return mask_delta.difference(before, self._tracks, command, self._shown, whole=whole)

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
            raise UsageError(
                "a propagation is under way; let it end, or cancel it, before the next command"
            )
