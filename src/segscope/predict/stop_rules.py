"""When to stop tracking an object: it has left, or the organ has ended."""

from __future__ import annotations

import math
from dataclasses import dataclass

from segscope.masks import FrameMask
from segscope.stack import Stack


@dataclass(frozen=True, slots=True)
class StopRules:
    """Rules that end tracking of an object in one direction.

    Trackers continue past the end of an organ (arXiv 2408.11210, 2505.01854); these rules stop
    them.

    Attributes:
        absent_frames: stop after this many frames in a row without the object ...
        absent_mm: ... or after this distance, whichever is longer; 0 where there is no geometry.
        vanish: stop when the area falls below this share of its largest so far and is shrinking; 0
            to never.
        doubt: stop when the predicted IoU stays, for `absent_frames` frames, below this share of
            what it was on the first tracked frame; 0 to never.
    """

    absent_frames: int = 2
    absent_mm: float = 3.0
    vanish: float = 0.02
    doubt: float = 0.65


def default_rules(stack: Stack) -> StopRules | None:
    """Rules for a stack: organs end within volumes; objects of videos may come back."""
    if stack.kind == "volume":
        return StopRules()
    return None


@dataclass(slots=True)
class StopWatch:
    """Follows one object in one direction and decides when to stop.

    Attributes:
        rules: when to stop.
        frame_mm: distance between frames; None without geometry.
        frames: answers checked so far, the prompted one included.
        largest, last: areas in pixels.
        absent: frames in a row without the object.
        first_score: predicted IoU on the first tracked frame.
        doubted: frames in a row with a low predicted IoU.
    """

    rules: StopRules
    frame_mm: float | None
    frames: int = 0
    largest: int = 0
    last: int = 0
    absent: int = 0
    first_score: float = 0.0
    doubted: int = 0

    def check(self, answer: FrameMask) -> str:
        """Take the answer on the next frame; the reason to stop, or "" to go on."""
        area = int(answer.mask.sum())
        reason = self._check_presence(area, answer.object_score)
        if reason:
            return reason
        self.frames += 1
        reason = self._check_score(answer.score)
        if reason:
            return reason
        return self._check_area(area)

    def _check_presence(self, area: int, object_score: float | None) -> str:
        if area == 0 or (object_score is not None and object_score <= 0):
            self.absent += 1
        else:
            self.absent = 0
        limit = self.rules.absent_frames
        if self.frame_mm:
            limit = max(limit, math.ceil(self.rules.absent_mm / self.frame_mm))
        if self.absent >= limit:
            return f"stopped: not seen on {self.absent} frames"
        return ""

    def _check_score(self, score: float) -> str:
        if self.frames == 2:  # the first frame after the prompted one
            self.first_score = score
        if score < self.rules.doubt * self.first_score:
            self.doubted += 1
        else:
            self.doubted = 0
        if self.doubted >= self.rules.absent_frames:
            return f"stopped: predicted IoU down from {self.first_score:.2f} to {score:.2f}"
        return ""

    def _check_area(self, area: int) -> str:
        shrinking = area < self.last
        self.largest = max(self.largest, area)
        self.last = area
        if shrinking and 0 < area < self.rules.vanish * self.largest:
            return f"stopped: down to {area / self.largest:.1%} of its largest area"
        return ""
