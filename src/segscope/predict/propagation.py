"""Propagation: carry prompted objects through the frames of a volume or a video."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType
from typing import Literal

from segscope.errors import PromptError, UsageError
from segscope.inference.learning.head import SessionHead
from segscope.masks import FrameMask
from segscope.predict import tracking_window
from segscope.predict.state import InferenceState, ObjectState
from segscope.predict.stop_rules import StopRules, StopWatch
from segscope.predict.tracked_frame import TrackedFrame
from segscope.predict.trusted_heads import trust_heads
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
    state: InferenceState,
    tracks: Mapping[int, ObjectState],
    span: PropagationRange,
    cancelled: Callable[[], bool],
    heads: Mapping[int, SessionHead] = MappingProxyType({}),
) -> Iterator[list[FrameMask]]:
    """Frame after frame, the answers of all objects on it; stored in the tracks.

    Frames that were prompted or confirmed keep their answers. Stops before the next frame when
    `cancelled()`.

    Args:
        heads: what was learned from examples of the objects' labels, by object.

    Raises:
        PromptError: no object was prompted.
    """
    span.bounds(len(state.stack))
    tracks = {object_id: track for object_id, track in tracks.items() if track.anchors}
    if not tracks:
        raise PromptError("nothing to propagate: prompt an object on some frame first")
    trusted = trust_heads(state, tracks, heads)
    anchors = list(chain.from_iterable(track.anchors for track in tracks.values()))
    states, groups = zip(*tracking_window.groups(state, tracks), strict=True)
    passes_of_groups = [_passes(group, anchors, span, len(state.stack)) for group in groups]
    for passes in zip(*passes_of_groups, strict=True):
        for frame in _frames_of(passes):
            if cancelled():
                return
            answers: list[FrameMask] = []
            for part, pass_ in zip(states, passes, strict=True):
                if frame in pass_.frames:
                    answers += pass_.step(part, frame, trusted)
            yield sorted(answers, key=lambda answer: answer.object_id)


def _frames_of(passes: Sequence[_Pass]) -> list[int]:
    """Frames of passes in the same direction, in order of travel."""
    frames = set(chain.from_iterable(pass_.frames for pass_ in passes))
    return sorted(frames, reverse=passes[0].reverse)


@dataclass(slots=True)
class _Pass:
    """One way through the frames.

    Attributes:
        tracks: what the pass reads and writes.
        frames: in order of travel.
        begins: frame from which each object takes part.
        reverse: direction.
        rules: when to stop an object.
        copies: tracks that get the answers too, where the pass works on tracks of its own.
        watches: stop rules at work, by object; empty without rules.
        stopped: why an object was stopped, by object.
    """

    tracks: dict[int, ObjectState]
    frames: range
    begins: dict[int, int]
    reverse: bool
    rules: StopRules | None
    copies: Mapping[int, ObjectState]
    watches: dict[int, StopWatch] = field(default_factory=dict)
    stopped: dict[int, str] = field(default_factory=dict)

    def step(
        self, state: InferenceState, frame: int, heads: Mapping[int, SessionHead]
    ) -> list[FrameMask]:
        """Answers of all objects that take part, by object id."""
        reached = TrackedFrame(state, frame, self.reverse, heads)
        answers: dict[int, FrameMask] = {}
        moving: dict[int, ObjectState] = {}
        for object_id, track in self.tracks.items():
            if not self._takes_part(object_id, frame):
                continue
            if frame in track.anchors:
                answers[object_id] = self._pass_anchor(reached, object_id, track)
            elif object_id in self.stopped:
                answers[object_id] = reached.empty(object_id, track, self.stopped[object_id])
            else:
                moving[object_id] = track
        answers |= reached.track(moving)
        self._apply_rules(state, answers, moving)
        if moving:
            tracking_window.widen(state, moving, frame, self.reverse)
        for object_id in answers:
            self._copy(object_id, frame)
        return [answers[object_id] for object_id in sorted(answers)]

    def _takes_part(self, object_id: int, frame: int) -> bool:
        if self.reverse:
            return frame <= self.begins[object_id]
        return frame >= self.begins[object_id]

    def _pass_anchor(self, reached: TrackedFrame, object_id: int, track: ObjectState) -> FrameMask:
        """The answer of a prompted or confirmed frame stays; tracking starts from it again, unless
        it says that the object is not there.
        """
        frame = reached.frame
        answer = track.answers[frame]
        track.tracked_direction[frame] = self.reverse
        self.stopped.pop(object_id, None)
        self.watches.pop(object_id, None)
        if self.rules is not None and answer.area == 0:
            self.stopped[object_id] = f"stopped: not there on frame {frame}, as prompted"
        return reached.state.frame_mask(frame, object_id, answer)

    def _apply_rules(
        self,
        state: InferenceState,
        answers: Mapping[int, FrameMask],
        moving: Mapping[int, ObjectState],
    ) -> None:
        if self.rules is None:
            return
        frame_mm = None
        geometry = state.stack.geometry
        if geometry is not None and not geometry.shares_place:
            frame_mm = geometry.spacing_zyx_mm[0]
        for object_id, answer in answers.items():
            watch = self.watches.setdefault(object_id, StopWatch(self.rules, frame_mm))
            reason = watch.check(answer)
            if reason and object_id in moving:
                self.stopped[object_id] = reason

    def _copy(self, object_id: int, frame: int) -> None:
        track = self.tracks[object_id]
        copy = self.copies[object_id]
        if copy is not track:
            copy.answers[frame] = track.answers[frame]
            copy.tracked_direction[frame] = self.reverse


def _passes(
    tracks: dict[int, ObjectState], anchors: Sequence[int], span: PropagationRange, length: int
) -> Iterator[_Pass]:
    """The ways to go. Forward alone tracks every object from the first prompt (`anchors`) of any,
    as SAM 2 does.
    """
    low, high = span.bounds(length)
    rules = span.rules
    starts = anchors
    if span.start is not None:
        starts = [span.start]
    if span.direction == "forward":
        start = max(min(starts), low)
        begins = dict.fromkeys(tracks, start)
        yield _Pass(tracks, range(start, high + 1), begins, False, rules, tracks)
    elif span.direction == "backward":
        start = min(max(starts), high)
        begins = dict.fromkeys(tracks, start)
        yield _Pass(tracks, range(start, low - 1, -1), begins, True, rules, tracks)
    else:
        begins = {}
        for object_id, track in tracks.items():
            start = min(track.anchors) if span.start is None else span.start
            begins[object_id] = min(max(start, low), high)
        yield _Pass(tracks, range(min(begins.values()), high + 1), begins, False, rules, tracks)
        # the way back starts from the prompts alone; memories of the way out would speak for the
        # wrong side
        back = {object_id: _with_anchors_only(track) for object_id, track in tracks.items()}
        below = {object_id: begin - 1 for object_id, begin in begins.items()}
        frames = range(max(below.values()), low - 1, -1)
        yield _Pass(back, frames, below, True, rules, tracks)


def _with_anchors_only(track: ObjectState) -> ObjectState:
    copy = track.copy()
    copy.answers = {at: answer for at, answer in track.answers.items() if at in track.anchors}
    return copy
