"""Document: an open session. Commands in, what changed on the screen out, once the command is on
disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import PromptError, UsageError
from segscope.masks import FrameMask, Masks, Runs, decode_runs
from segscope.prompts import MaskPrompt, Prompt
from segscope.serve.errors import Busy, NotFound
from segscope.serve.sessions import mask_patch
from segscope.serve.sessions.mask_patch import Piece
from segscope.serve.sessions.model_pool import Turnstile, Urgency
from segscope.serve.sessions.result import Outcome, candidates_of, object_row, together
from segscope.session import Interaction
from segscope.session.mask_delta import changed_frames

MOST_SENT = (
    24  # frames whose changed masks come with one answer; of further ones only the numbers are sent
)
ABOUT = ("colour", "code", "visible", "comment", "locked")

Shown = Mapping[int, Runs]


@dataclass
class Document:
    """One session in memory. All methods may be called from several threads.

    Attributes:
        work: the interaction; its log is the session.
        turnstile: of the engine's device.
        folder: where the log and the saved state lie.
        touched: when it was last used, by the monotonic clock.
        unsaved_s: seconds of work since the state was last saved.
    """

    work: Interaction
    turnstile: Turnstile
    folder: Path
    touched: float = field(default_factory=time.monotonic)
    unsaved_s: float = 0.0
    _lock: Turnstile = field(default_factory=Turnstile)  # always taken before the device's
    _shown: dict[int, Shown] = field(default_factory=dict)
    _carrying: bool = False

    # --- looking ---------------------------------------------------------------------------------

    @property
    def frames(self) -> int:
        return len(self.work.stack)

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.work.stack.size_hw

    def shown(self, frame: int) -> Shown:
        """Masks by object as they are shown and exported."""
        if not 0 <= frame < self.frames:
            raise UsageError(f"frame {frame} of a stack with frames 0 to {self.frames - 1}")
        with self._lock:
            if frame not in self._shown:
                self._shown[frame] = self.work.shown(frame)
            return self._shown[frame]

    def masks_on(self, frame: int) -> list[Piece]:
        """Masks of a frame, each in its tight box."""
        with self._lock:
            return [
                mask_patch.whole(
                    frame,
                    object_id,
                    decode_runs(runs, self.size_hw),
                    score=self._score(frame, object_id),
                )
                for object_id, runs in self.shown(frame).items()
            ]

    def labels(self, frame: int) -> NDArray[np.uint16]:
        """Label map of a frame as a label file would have it."""
        canvas = np.zeros(self.size_hw, np.uint16)
        for object_id, runs in sorted(self.shown(frame).items()):
            canvas[decode_runs(runs, self.size_hw)] = object_id
        return canvas

    def masks(self, objects: Iterable[int] | None = None) -> Masks:
        """All masks, for export; of these objects only, where they are named."""
        with self._lock:
            self._idle()
            found = self.work.masks()
        if objects is None:
            return found
        chosen = set(objects)
        missing = chosen - set(found.object_ids)
        if missing:
            raise NotFound(f"no objects {sorted(missing)}; there are {list(found.object_ids)}")
        return replace(
            found,
            runs={key: runs for key, runs in found.runs.items() if key[1] in chosen},
            names={key: name for key, name in found.names.items() if key in chosen},
            scores={key: score for key, score in found.scores.items() if key[1] in chosen},
        )

    def objects(
        self, chosen: Iterable[int] | None = None, *, with_frames: bool = True
    ) -> list[dict[str, Any]]:
        """What is known of each object, or of those that are named and there."""
        with self._lock:
            tracks = sorted(self.work.tracks.items())
            wanted = None
            if chosen is not None:
                wanted = set(chosen)
            geometry = None
            if self.frames > 1:
                geometry = self.work.stack.geometry
            return [
                object_row(i, track, geometry, with_frames=with_frames)
                for i, track in tracks
                if wanted is None or i in wanted
            ]

    def _score(self, frame: int, object_id: int) -> float | None:
        track = self.work.tracks.get(object_id)
        answer = None
        if track is not None:
            answer = track.answers.get(frame)
        if answer is None:
            return None
        return round(float(answer.score), 4)

    # --- commands --------------------------------------------------------------------------------

    def add(
        self, prompts: Sequence[Prompt], *, force: bool = False, candidates: bool = False
    ) -> Outcome:
        """Prompts that are kept."""
        with self._lock:
            self._allowed(((prompt.frame, prompt.object_id) for prompt in prompts), force)
            frames = {prompt.frame for prompt in prompts}
            return self._do(lambda: self.work.add(*prompts), frames, candidates=candidates)

    def hover(
        self, prompts: Sequence[Prompt], *, instead: bool = False, candidates: bool = False
    ) -> Outcome:
        """What prompts would give."""
        with self.turn(Urgency.HOVER) as waited:
            start = time.perf_counter()
            found = self.work.preview(*prompts, instead=instead)
            worked = time.perf_counter() - start
        piece = mask_patch.whole(
            found.frame, found.object_id, found.mask, score=round(float(found.score), 4)
        )
        if candidates:
            others = candidates_of(found)
        else:
            others = ()
        return Outcome(found, (piece,), candidates=others, waited_s=waited, worked_s=worked)

    def replace(
        self, frame: int, object_id: int, prompts: Sequence[Prompt], *, force: bool = False
    ) -> Outcome:
        """Other prompts in the place of those of an object on a frame."""
        with self._lock:
            self._allowed([(frame, object_id)], force)
            return self._do(lambda: self.work.replace(frame, object_id, prompts), {frame})

    def choose(self, frame: int, object_id: int, index: int, *, force: bool = False) -> Outcome:
        """Another of the candidates."""
        with self._lock:
            self._allowed([(frame, object_id)], force)
            return self._do(lambda: self.work.choose(frame, object_id, index), {frame})

    def clear(self, frame: int, object_id: int, *, force: bool = False) -> Outcome:
        """Forget prompts and mask of an object on a frame."""
        with self._lock:
            self._allowed([(frame, object_id)], force)
            return self._do(lambda: self.work.clear(frame, object_id), {frame})

    def paint(
        self,
        frame: int,
        object_id: int,
        pixels: NDArray[np.bool_],
        *,
        erase: bool = False,
        force: bool = False,
    ) -> Outcome:
        """Add pixels to the mask of an object, or take them away."""
        with self._lock:
            shown = self.shown(frame).get(object_id)
            if shown is None:
                now = np.zeros(self.size_hw, bool)
            else:
                now = decode_runs(shown, self.size_hw)
            if erase:
                mask = now & ~pixels
            else:
                mask = now | pixels
            return self.add([MaskPrompt(mask, frame, object_id)], force=force)

    def add_found(self, frame: int, found: Masks) -> Outcome:
        """Make masks of a frame (their frame 0) objects in one step.

        Pixels of objects stay theirs; a mask that mostly lies on them is none.
        """
        masks = [
            (found.mask(0, number), found.scores.get((0, number), 0.5))
            for number in found.object_ids
        ]
        with self._lock:
            free = np.ones(self.size_hw, bool)
            for runs in self.shown(frame).values():
                free &= ~decode_runs(runs, self.size_hw)
            new = [
                (mask & free, score)
                for mask, score in masks
                if (mask & free).sum() > mask.sum() / 2
            ]
            first = max([0, *self.work.tracks]) + 1
            prompts = [
                unseen(mask, frame, number, score)
                for number, (mask, score) in enumerate(new, first)
            ]
            if prompts:
                return self.add(prompts)
            return Outcome()

    def add_classes(self, found: Mapping[int, Masks]) -> Outcome:
        """Classes by frame (in frame 0 of each) as objects: the one that has a class's name, or a
        new one. One step.

        Pixels of objects stay theirs. Frames where the object of a class has a mask stay as they
        are, and so does an object that is locked.
        """
        with self._lock:
            numbers = {
                track.name: i
                for i, track in sorted(self.work.tracks.items(), reverse=True)
                if track.name
            }
            outcomes = list[Outcome]()
            prompts = list[Prompt]()
            for frame, masks in sorted(found.items()):
                free = self.labels(frame) == 0
                for number in masks.object_ids:
                    name = masks.names[number]
                    mask = masks.mask(0, number) & free
                    track = self.work.tracks.get(numbers.get(name, 0))
                    kept = track is not None and (
                        track.locked or frame in track.answers or frame in track.accepted
                    )
                    if kept or not mask.any():
                        continue
                    if name not in numbers:
                        numbers[name] = max([0, *self.work.tracks]) + 1
                        outcomes.append(self.describe(numbers[name], label=name))
                    prompts.append(
                        unseen(mask, frame, numbers[name], masks.scores.get((0, number), 0.5))
                    )
            if prompts:
                return together([*outcomes, self.add(prompts)])
            return Outcome()

    def accept(
        self, frames: Iterable[int], object_ids: Iterable[int] | None, *, accepted: bool = True
    ) -> Outcome:
        """Freeze what is shown on frames, or thaw it; one step a frame."""
        outcomes = []
        with self._lock:
            for frame in sorted(set(frames)):
                self.shown(frame)
                there = [i for i, track in self.work.tracks.items() if frame in track.answers]
                if object_ids is None:
                    chosen = there
                else:
                    chosen = list(object_ids)
                if not chosen:
                    raise UsageError(
                        f"there is no mask on frame {frame} to accept; draw an empty one to say so"
                    )
                outcomes.append(
                    self._do(partial(self.work.accept, frame, chosen, accepted=accepted), {frame})
                )
        if not outcomes:
            raise UsageError("name at least one frame")
        return together(outcomes)

    def undo(self, frame: int | None, *, redo: bool = False) -> Outcome | None:
        """Take back the latest command, or do it again; None when there is none."""
        with self._lock:
            done = False

            def step() -> None:
                nonlocal done
                if redo:
                    done = self.work.redo()
                else:
                    done = self.work.undo()

            outcome = self._do(step, set() if frame is None else {frame})
            if done:
                return outcome
            return None

    def describe(
        self, object_id: int, *, label: str | None = None, about: Mapping[str, Any] | None = None
    ) -> Outcome:
        """Label, colour, code, lock, visibility and comment of an object; makes it if need be."""
        with self._lock:
            return self._do(
                lambda: self.work.describe(object_id, name=label, **(about or {})), set()
            )

    def remove(self, object_id: int, *, force: bool = False) -> Outcome:
        """Forget an object."""
        with self._lock:
            self._known(object_id)
            if not force:
                self._unlocked(object_id)
                if self.work.tracks[object_id].accepted:
                    raise Busy(
                        f'object {object_id} has accepted masks; say "force": true to remove it all the same'
                    )
            return self._do(lambda: self.work.remove(object_id), set())

    def free_id(self) -> int:
        """The lowest object number that is not taken."""
        taken = set(self.work.tracks)
        return next(number for number in range(1, 65536) if number not in taken)

    # --- propagation -----------------------------------------------------------------------------

    def propagate(
        self, cancelled: Callable[[], bool], **options: Any
    ) -> Iterator[tuple[int, list[Piece], float]]:
        """Carry objects from frame to frame: (frame, what changed on it, seconds of work).

        `cancelled` is asked before each frame. Options as of `Interaction.propagate`.
        """
        with self._lock:
            self._idle()
            chosen = options.get("objects")
            locked = [i for i, track in self.work.tracks.items() if track.locked]
            if chosen is None:
                chosen = [
                    i for i, track in self.work.tracks.items() if not track.locked and track.anchors
                ]
            elif set(chosen) & set(locked):
                raise Busy(
                    f"objects {sorted(set(chosen) & set(locked))} are locked; unlock them to carry them"
                )
            if not chosen:
                raise PromptError("nothing to propagate: prompt an object on some frame first")
            found = self.work.propagate(**{**options, "objects": chosen})
            self._carrying = True
        return self._frames(found, cancelled)

    def end_propagation(self) -> None:
        """Let commands in again."""
        self._carrying = False

    def _frames(
        self, found: Iterator[FrameMask], cancelled: Callable[[], bool]
    ) -> Iterator[tuple[int, list[Piece], float]]:
        last = None
        try:
            while True:
                if cancelled():
                    self.work.cancel()
                with self.turn(Urgency.TRACK):
                    start = time.perf_counter()
                    if cancelled():
                        self.work.cancel()
                    item = next(found, None)
                    worked = time.perf_counter() - start
                    self.unsaved_s += worked
                    self.touched = time.monotonic()
                    if item is None:
                        return
                    if item.frame == last:
                        changed = []
                    else:
                        changed = self._refreshed(item.frame)
                if item.frame != last:
                    last = item.frame
                    yield item.frame, changed, worked
        finally:
            with self._lock:
                found.close()  # type: ignore[attr-defined]

    def _refreshed(self, frame: int) -> list[Piece]:
        """What looks different on a frame since it was last looked at."""
        before = self._shown.get(frame, {})
        after = self._shown[frame] = self.work.shown(frame)
        return self._differences(frame, before, after)

    def _differences(self, frame: int, before: Shown, after: Shown) -> list[Piece]:
        found = [
            mask_patch.difference(
                frame, i, before.get(i), after.get(i), self.size_hw, score=self._score(frame, i)
            )
            for i in sorted({*before, *after})
        ]
        return [piece for piece in found if piece is not None]

    # --- how a command is done -------------------------------------------------------------------

    @contextmanager
    def turn(self, urgency: Urgency) -> Iterator[float]:
        """The device and the document, for oneself."""
        with (
            self._lock.pass_through(urgency) as first,
            self.turnstile.pass_through(urgency) as second,
        ):
            yield first + second

    def _do(self, step: Callable[[], Any], focus: set[int], *, candidates: bool = False) -> Outcome:
        self._idle()
        with self.turnstile.pass_through(Urgency.CLICK) as waited:
            start = time.perf_counter()
            for frame in focus:
                if 0 <= frame < self.frames:
                    self.shown(frame)
            before = dict(self.work.tracks)
            found = step()
            after = self.work.tracks
            changes, stale = self._changes(changed_frames(before, after), focus)
            touched = tuple(
                sorted(i for i in {*before, *after} if before.get(i) is not after.get(i))
            )
            worked = time.perf_counter() - start
        self.touched = time.monotonic()
        self.unsaved_s += worked
        if not (isinstance(found, FrameMask)):
            found = None
        if candidates and found is not None:
            others = candidates_of(found)
        else:
            others = ()
        return Outcome(found, tuple(changes), tuple(stale), others, touched, waited, worked)

    def _changes(self, frames: set[int], focus: set[int]) -> tuple[list[Piece], list[int]]:
        changes: list[Piece] = []
        stale: list[int] = []
        ordered = sorted(frames, key=lambda frame: (frame not in focus, frame))
        for number, frame in enumerate(ordered):
            if frame in self._shown and (number < MOST_SENT or frame in focus):
                changes += self._refreshed(frame)
            else:
                self._shown.pop(frame, None)
                stale.append(frame)
        return changes, stale

    def _allowed(self, places: Iterable[tuple[int, int]], force: bool) -> None:
        if force:
            return
        for frame, object_id in places:
            self._unlocked(object_id)
            track = self.work.tracks.get(object_id)
            if track is not None and frame in track.accepted:
                raise Busy(
                    f'the mask of object {object_id} on frame {frame} is accepted; take that back, or say "force": true'
                )

    def _unlocked(self, object_id: int) -> None:
        track = self.work.tracks.get(object_id)
        if track is not None and track.locked:
            raise Busy(f'object {object_id} is locked; unlock it, or say "force": true')

    def _known(self, object_id: int) -> None:
        if object_id not in self.work.tracks:
            raise NotFound(f"no object {object_id}; there are {sorted(self.work.tracks)}")

    def _idle(self) -> None:
        if self._carrying or self.work.running:
            raise Busy(
                "a propagation is under way; let it end, or cancel it, before the next command"
            )

    # --- keeping ---------------------------------------------------------------------------------

    def save_state(self) -> None:
        """Spare a later opening the work of running the log again."""
        with self._lock:
            if self._carrying or self.unsaved_s == 0.0:
                return
            self.work.save_state(self.folder / "state.safetensors")
            self.unsaved_s = 0.0

    def close(self) -> None:
        """Give memory and disk space back; the log is complete at all times."""
        with self._lock:
            self.work.close()


def unseen(mask: NDArray[np.bool_], frame: int, object_id: int, score: float) -> MaskPrompt:
    """A mask of a network that nobody has looked at: never quite sure."""
    return MaskPrompt(mask, frame, object_id, score=round(min(max(score, 0.0), 0.999), 4))
