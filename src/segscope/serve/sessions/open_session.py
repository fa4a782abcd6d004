"""OpenSession: a session in memory.

Commands go in; what changed on the screen comes out, once the command is on disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segscope.errors import UsageError, WriteError
from segscope.masks import FrameMask, Masks, decode_runs
from segscope.predict.propagation import PropagationRange
from segscope.predict.state import ObjectState
from segscope.prompts import Prompt
from segscope.serve.answers import ObjectInfo
from segscope.serve.errors import Busy
from segscope.serve.project.mask_export import select_objects
from segscope.serve.sessions.catch_up import CatchUp
from segscope.serve.sessions.device_queue import DeviceQueue, Urgency
from segscope.serve.sessions.mask_patch import MaskPatch, candidate_patches, whole_patch
from segscope.serve.sessions.object_info import describe_object
from segscope.serve.sessions.protection import check_removable, check_unprotected, choose_tracked
from segscope.serve.sessions.result import CommandResult
from segscope.serve.sessions.screen import Screen, VisibleMasks
from segscope.serve.sessions.suggestions import accept_in_bulk
from segscope.session import Interaction
from segscope.session.commands import Accept, Remove
from segscope.session.entries import SessionCommand
from segscope.session.examples.acceptance import is_rejected
from segscope.session.examples.examples import Examples
from segscope.session.mask_delta import changed_frames


@dataclass(frozen=True)
class FrameChanges:
    """What a propagation changed on a frame."""

    frame: int
    patches: list[MaskPatch]


@dataclass
class OpenSession:
    """One session in memory. All methods may be called from several threads.

    Attributes:
        work: the interaction; its log is the session.
        device: the queue of the engine's device.
        folder: where the log and the saved state lie.
        last_used: by the monotonic clock.
        unsaved_s: seconds of work since the state was last saved.
        catch_up: computes network states that are missing after opening.
    """

    work: Interaction
    device: DeviceQueue
    folder: Path
    last_used: float = field(default_factory=time.monotonic)
    unsaved_s: float = 0.0
    _lock: DeviceQueue = field(default_factory=DeviceQueue)  # always taken before the device's
    _propagating: bool = False

    def __post_init__(self) -> None:
        self._screen = Screen(self.work)
        self.catch_up = CatchUp(self.work.history, self.device, self._lock, self.annotator)

    # --- reading ---------------------------------------------------------------------------------

    @property
    def frames(self) -> int:
        return len(self.work.stack)

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.work.stack.size_hw

    def visible_masks(self, frame: int) -> VisibleMasks:
        """Masks by object as they are displayed and exported."""
        with self._lock:
            return self._screen.masks(frame)

    def masks_on(self, frame: int) -> list[MaskPatch]:
        """Masks of a frame, each in its tight box."""
        with self._lock:
            return [
                whole_patch(
                    frame,
                    object_id,
                    decode_runs(runs, self.size_hw),
                    score=self._screen.score(frame, object_id),
                )
                for object_id, runs in self.visible_masks(frame).items()
            ]

    def mask(self, frame: int, object_id: int) -> NDArray[np.bool_]:
        """The mask of an object as it is displayed, empty where it has none."""
        runs = self.visible_masks(frame).get(object_id)
        if runs is None:
            return np.zeros(self.size_hw, bool)
        return decode_runs(runs, self.size_hw)

    def labels(self, frame: int) -> NDArray[np.uint16]:
        """Label map of a frame as a label file would have it."""
        canvas = np.zeros(self.size_hw, np.uint16)
        for object_id, runs in sorted(self.visible_masks(frame).items()):
            canvas[decode_runs(runs, self.size_hw)] = object_id
        return canvas

    def masks(self, objects: Iterable[int] | None = None) -> Masks:
        """All masks for export, or those of some objects."""
        with self._lock:
            self._check_idle()
            masks = self.work.masks()
        if objects is None:
            return masks
        return select_objects(masks, set(objects))

    def objects(
        self, chosen: Iterable[int] | None = None, *, with_frames: bool = True
    ) -> list[ObjectInfo]:
        """Describe each object that is not rejected, or those of the chosen ones that exist."""
        with self._lock:
            states = sorted(self.work.objects.items())
        states = [item for item in states if not is_rejected(item[1])]
        if chosen is not None:
            selected = set(chosen)
            states = [item for item in states if item[0] in selected]
        geometry = None
        if self.work.stack.kind == "volume":
            geometry = self.work.stack.geometry
        return [
            describe_object(object_id, obj, geometry, with_frames=with_frames)
            for object_id, obj in states
        ]

    def snapshot(self) -> tuple[dict[int, ObjectState], int]:
        """The objects, which later commands do not change, and the size of the log in bytes."""
        with self._lock:
            return dict(self.work.objects), (self.folder / "log.jsonl").stat().st_size

    def learns_from(self, examples: Examples) -> bool:
        """Whether answers may be learned from these examples."""
        learning = self.work.state.learning
        return learning is not None and learning.examples is examples

    def free_id(self) -> int:
        """The lowest object number that is not used."""
        used = set(self.work.objects)
        return next(number for number in range(1, 65536) if number not in used)

    # --- commands --------------------------------------------------------------------------------

    def execute(
        self, command: SessionCommand, *, force: bool = False, candidates: bool = False
    ) -> CommandResult:
        """Do a command.

        Args:
            force: also on masks that are accepted or locked.
            candidates: give the other masks that its prompts may mean, too.

        Raises:
            Busy: accepted or locked masks, or a propagation is running.
            NotFound: the object to remove does not exist.
            PromptError, UsageError: it cannot be done.
            WriteError: the log cannot be written.
        """
        with self.exclusive():
            if isinstance(command, Remove):
                check_removable(self.work.objects, command.object_id, force=force)
            elif not force:
                check_unprotected(self.work.objects, command.places)
            result = self._apply(lambda: self.work.execute(command), command.frames)
        if candidates and result.answer is not None:
            return replace(result, candidates=candidate_patches(result.answer))
        return result

    def accept(
        self, frames: Iterable[int], object_ids: Sequence[int] | None, *, accepted: bool = True
    ) -> CommandResult:
        """Accept the masks of frames as they are displayed, or withdraw that; one command a frame,
        and all of them or none.

        Args:
            object_ids: default all that have a mask there; unreviewed ones stay unreviewed then.
        """
        numbers = sorted(set(frames))
        if not numbers:
            raise UsageError("name at least one frame")
        with self.exclusive():
            commands = [self._accept_command(at, object_ids, accepted) for at in numbers]
            return self._apply(lambda: self.work.history.execute_all(commands), frozenset(numbers))

    def _accept_command(
        self, frame: int, object_ids: Sequence[int] | None, accepted: bool
    ) -> Accept:
        self.visible_masks(frame)  # refuses frames that do not exist
        chosen = object_ids
        if chosen is None:
            chosen = [i for i, obj in self.work.objects.items() if frame in obj.answers]
        if not chosen:
            raise UsageError(
                f"frame {frame} has no mask to accept; draw an empty one to state that there is "
                "no object"
            )
        unreviewed: list[int] = []
        if object_ids is None:
            unreviewed = [i for i in chosen if self.work.objects[i].unreviewed]
        return Accept(frame, tuple(sorted(chosen)), accepted, tuple(sorted(unreviewed)))

    def accept_suggestions(
        self, above: float, frames: Iterable[int] | None, label: str | None
    ) -> CommandResult:
        """Accept suggestions in bulk; one command a frame, and all of them or none.

        Args:
            above: least confidence.
            frames: default all.
            label: default all.
        """
        with self.exclusive():
            commands = accept_in_bulk(self.work.objects, above, frames, label)
            focus = frozenset(command.frame for command in commands)
            return self._apply(lambda: self.work.history.execute_all(commands), focus)

    def undo(self, frame: int | None) -> CommandResult | None:
        """Undo the latest command; None when there is none. `frame` is the one in view."""
        return self._step(self.work.undo, frame)

    def redo(self, frame: int | None) -> CommandResult | None:
        """Redo the command that was undone last; None when there is none."""
        return self._step(self.work.redo, frame)

    def preview(
        self, prompts: Sequence[Prompt], *, instead: bool = False, candidates: bool = False
    ) -> CommandResult:
        """What prompts would give; nothing is stored."""
        self.catch_up.finish()
        with self.turn(Urgency.HOVER) as waited:
            start = time.perf_counter()
            answer = self.work.preview(*prompts, instead=instead)
            worked = time.perf_counter() - start
        score = round(float(answer.score), 4)
        patch = whole_patch(answer.frame, answer.object_id, answer.mask, score=score)
        others: tuple[MaskPatch, ...] = ()
        if candidates:
            others = candidate_patches(answer)
        return CommandResult(answer, (patch,), candidates=others, waited_s=waited, worked_s=worked)

    def _step(self, step: Callable[[], bool], frame: int | None) -> CommandResult | None:
        done = False

        def work() -> None:
            nonlocal done
            done = step()

        focus: frozenset[int] = frozenset()
        if frame is not None:
            focus = frozenset({frame})
        with self.exclusive():
            result = self._apply(work, focus)
        if done:
            return result
        return None

    def _apply(self, step: Callable[[], FrameMask | None], focus: frozenset[int]) -> CommandResult:
        """Do a step of work on the device, and compare what is visible before and after it.

        Args:
            focus: frames whose changed masks are always sent.
        """
        self._check_idle()
        with self.device.turn(Urgency.CLICK, self.annotator) as waited:
            start = time.perf_counter()
            for frame in focus:
                if 0 <= frame < self.frames:
                    self.visible_masks(frame)
            before = dict(self.work.objects)
            answer = step()
            after = self.work.objects
            changes, stale = self._screen.compare(changed_frames(before, after), focus)
            worked = time.perf_counter() - start
        self.last_used = time.monotonic()
        self.unsaved_s += worked
        touched = [i for i in {*before, *after} if before.get(i) is not after.get(i)]
        return CommandResult(
            answer=answer,
            changes=tuple(changes),
            stale=tuple(stale),
            touched=tuple(sorted(touched)),
            waited_s=waited,
            worked_s=worked,
        )

    # --- propagation -----------------------------------------------------------------------------

    def propagate(
        self,
        frames: PropagationRange,
        objects: Sequence[int] | None,
        cancelled: Callable[[], bool],
    ) -> Iterator[FrameChanges]:
        """Track objects from frame to frame; `end_propagation` must follow.

        Args:
            objects: ids; None for all that are prompted and not locked.
            cancelled: checked before each frame.
        """
        with self.exclusive():
            self._check_idle()
            chosen = choose_tracked(self.work.objects, objects)
            masks = self.work.propagate(
                frames.direction,
                start=frames.start,
                within=frames.within,
                objects=chosen,
                rules=frames.rules,
            )
            self._propagating = True
        return self._follow(masks, cancelled)

    def end_propagation(self) -> None:
        """Admit commands again."""
        self._propagating = False

    def _follow(
        self, masks: Iterator[FrameMask], cancelled: Callable[[], bool]
    ) -> Iterator[FrameChanges]:
        sent: list[int] = []
        try:
            while (mask := self._next_mask(masks, cancelled)) is not None:
                if sent and sent[-1] == mask.frame:  # another object on the same frame
                    continue
                sent.append(mask.frame)
                yield self._frame_changes(mask.frame)
        except WriteError:
            # without its line in the log a propagation does not count: the masks are as before
            for frame in sorted(set(sent)):
                yield self._frame_changes(frame)
            raise
        finally:
            with self._lock:
                masks.close()  # type: ignore[attr-defined]

    def _next_mask(
        self, masks: Iterator[FrameMask], cancelled: Callable[[], bool]
    ) -> FrameMask | None:
        if cancelled():
            self.work.cancel()
        with self.turn(Urgency.TRACK):
            start = time.perf_counter()
            if cancelled():
                self.work.cancel()
            mask = next(masks, None)
            self.unsaved_s += time.perf_counter() - start
            self.last_used = time.monotonic()
        return mask

    def _frame_changes(self, frame: int) -> FrameChanges:
        with self._lock:
            return FrameChanges(frame, self._screen.refresh(frame))

    # --- who may go ahead ------------------------------------------------------------------------

    @contextmanager
    def turn(self, urgency: Urgency) -> Iterator[float]:
        """Hold the session and the device inside the block; gives the seconds waited."""
        with (
            self._lock.turn(urgency) as first,
            self.device.turn(urgency, self.annotator) as second,
        ):
            yield first + second

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other threads out of the session inside the block, for commands."""
        self.catch_up.finish()
        with self._lock:
            yield

    @property
    def annotator(self) -> str:
        """Whose turns on the device count together; nobody shares those without a name."""
        return self.work.history.annotator or self.folder.name

    def _check_idle(self) -> None:
        if self._propagating or self.work.history.propagating:
            raise Busy(
                "a propagation is running; wait until it ends, or cancel it, before the next "
                "command"
            )

    # --- saving and closing ----------------------------------------------------------------------

    def save_state(self) -> None:
        """Spare a later opening the work of computing the log again."""
        with self._lock:
            unfinished = self._propagating or self.work.history.is_pending
            if unfinished or self.unsaved_s == 0.0:
                return
            self.work.save_state(self.folder / "state.safetensors")
            self.unsaved_s = 0.0

    def memory_bytes(self) -> int:
        """About how much memory it takes."""
        source = self.work.stack.source
        pixels = 0
        if isinstance(source, np.ndarray):
            pixels = source.nbytes
        return self.work.memory_bytes + pixels + 2**20

    def close(self) -> None:
        """Free memory and disk space; the log is complete at all times."""
        self.catch_up.stop()
        with self._lock:
            self.work.close()
