"""Propagation: carry prompted objects through the frames of a volume or a video."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from segscope.errors import PromptError, UsageError
from segscope.masks import FrameMask
from segscope.predict import tracking_window
from segscope.predict.object_state import ObjectState
from segscope.predict.state import InferenceState
from segscope.predict.stop_rules import StopRules, StopWatch
from segscope.predict.tracked_frame import TrackedFrame
from segscope.stack import Stack

Direction = Literal["both", "forward", "backward"]
DIRECTIONS: tuple[Direction, ...] = ("both", "forward", "backward")


def default_direction(stack: Stack) -> Direction:
    """Both ways through a volume, forward through a video."""
    if stack.kind == "volume":
        return "both"
    return "forward"


@dataclass(frozen=True, slots=True)
class PropagationRange:
    """What to propagate.

    Attributes:
        direction: "forward", "backward", or both ways from each object's first prompted frame.
        start: frame to begin at; None for the first prompted frame (the last one when going
            backward).
        within: first and last frame that may change, both included; None for the whole stack.
        rules: when to stop an object; None never to.
    """

    direction: Direction
    start: int | None = None
    within: tuple[int, int] | None = None
    rules: StopRules | None = None

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise UsageError(f"a direction is {', '.join(DIRECTIONS)}, got {self.direction!r}")

    def bounds(self, frames: int) -> tuple[int, int]:
        """First and last frame, checked against the number of frames."""
        low, high = self.within or (0, frames - 1)
        if not 0 <= low <= high < frames:
            raise UsageError(f"frames {low} to {high} of a stack with frames 0 to {frames - 1}")
        if self.start is not None and not low <= self.start <= high:
            raise UsageError(f"cannot start at frame {self.start}, outside frames {low} to {high}")
        return low, high


def propagate(
    scene: InferenceState,
    tracks: Mapping[int, ObjectState],
    span: PropagationRange,
    cancelled: Callable[[], bool],
) -> Iterator[list[FrameMask]]:
    """Frame after frame, the answers of all objects on it; kept in the tracks.

    Frames that were prompted or confirmed keep their answers. Stops before the next frame when
    `cancelled()`.

    Raises:
        PromptError: no object was prompted.
    """
    low, high = span.bounds(len(scene.stack))
    tracks = {object_id: track for object_id, track in tracks.items() if track.anchors}
    if not tracks:
        raise PromptError("nothing to propagate: prompt an object on some frame first")
    anchors = [at for track in tracks.values() for at in track.anchors]
    scenes, members = zip(*tracking_window.groups(scene, tracks), strict=True)
    for passes in zip(
        *(_passes(group, anchors, span, low, high) for group in members), strict=True
    ):
        frames = sorted(
            {frame for pass_ in passes for frame in pass_.frames}, reverse=passes[0].reverse
        )
        for frame in frames:
            if cancelled():
                return
            steps = (
                pass_.step(part, frame)
                for part, pass_ in zip(scenes, passes, strict=True)
                if frame in pass_.frames
            )
            found = [frame_mask for step in steps for frame_mask in step]
            yield sorted(found, key=lambda frame_mask: frame_mask.object_id)


@dataclass(slots=True)
class _Pass:
    """One way through the frames.

    Attributes:
        tracks: what the pass reads and writes.
        frames: in order of travel.
        begins: frame from which each object takes part.
        reverse: direction.
        watches: stop rules at work, by object; empty without rules.
        copies: tracks that get the answers too, where the pass works on tracks of its own.
    """

    tracks: dict[int, ObjectState]
    frames: range
    begins: dict[int, int]
    reverse: bool
    rules: StopRules | None
    copies: Mapping[int, ObjectState]
    watches: dict[int, StopWatch]
    stopped: dict[int, str]

    def step(self, scene: InferenceState, frame: int) -> list[FrameMask]:
        reached = TrackedFrame(scene, frame, self.reverse)
        found: dict[int, FrameMask] = {}
        moving: dict[int, ObjectState] = {}
        for object_id, track in self.tracks.items():
            if (
                (frame > self.begins[object_id])
                if self.reverse
                else (frame < self.begins[object_id])
            ):
                continue
            if frame in track.anchors:
                found[object_id] = scene.frame_mask(frame, object_id, track.answers[frame])
                track.passed[frame] = self.reverse
                self.stopped.pop(object_id, None)
                self.watches.pop(object_id, None)
                if self.rules is not None and track.answers[frame].area == 0:
                    self.stopped[object_id] = f"stopped: not there on frame {frame}, as prompted"
            elif object_id in self.stopped:
                note = self.stopped[object_id]
                found[object_id] = reached.empty(object_id, track, note)
            else:
                moving[object_id] = track
        found |= reached.track(moving)
        self._watch(scene, found, moving)
        if moving:
            tracking_window.widen(scene, moving, frame, self.reverse)
        for object_id in found:
            if self.copies[object_id] is not self.tracks[object_id]:
                self.copies[object_id].answers[frame] = self.tracks[object_id].answers[frame]
                self.copies[object_id].passed[frame] = self.reverse
        return [found[object_id] for object_id in sorted(found)]

    def _watch(
        self,
        scene: InferenceState,
        found: Mapping[int, FrameMask],
        moving: Mapping[int, ObjectState],
    ) -> None:
        if self.rules is None:
            return
        spacing = scene.stack.spacing_zyx_mm
        for object_id in found:
            watch = self.watches.setdefault(
                object_id, StopWatch(self.rules, spacing[0] if spacing else None)
            )
            reason = watch.see(found[object_id])
            if reason and object_id in moving:
                self.stopped[object_id] = reason


def _passes(
    tracks: dict[int, ObjectState], anchors: list[int], span: PropagationRange, low: int, high: int
) -> Iterator[_Pass]:
    """The ways to go. Forward alone tracks every object from the first prompt (`anchors`) of any,
    as SAM 2 does.
    """

    def one(
        frames: range, begins: dict[int, int], reverse: bool, working: dict[int, ObjectState]
    ) -> _Pass:
        return _Pass(working, frames, begins, reverse, span.rules, tracks, {}, {})

    if span.direction == "forward":
        if span.start is None:
            start = min(anchors)
        else:
            start = span.start
        start = max(start, low)
        yield one(range(start, high + 1), dict.fromkeys(tracks, start), False, tracks)
    elif span.direction == "backward":
        if span.start is None:
            start = max(anchors)
        else:
            start = span.start
        start = min(start, high)
        yield one(range(start, low - 1, -1), dict.fromkeys(tracks, start), True, tracks)
    else:
        begins = {
            i: min(track.anchors) if span.start is None else span.start
            for i, track in tracks.items()
        }
        begins = {i: min(max(begin, low), high) for i, begin in begins.items()}
        yield one(range(min(begins.values()), high + 1), begins, False, tracks)
        # the way back starts from the prompts alone; memories of the way out would speak for the
        # wrong side
        back = {i: _fresh(track) for i, track in tracks.items()}
        below = {i: begin - 1 for i, begin in begins.items()}
        yield one(range(max(below.values()), low - 1, -1), below, True, back)


def _fresh(track: ObjectState) -> ObjectState:
    copy = track.copy()
    copy.answers = {at: answer for at, answer in track.answers.items() if at in track.anchors}
    return copy
