"""When to stop tracking an object: it has left, or the organ has ended."""

from __future__ import annotations

import math
from dataclasses import dataclass

from segscope.masks import FrameMask
from segscope.stack import Stack


@dataclass(frozen=True, slots=True)
class StopRules:
    """Rules that end tracking of an object in one direction.

    Trackers go on past the end of an organ (arXiv 2408.11210, 2505.01854); these rules end it
    early.

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
    """Follows one object in one direction and says when to stop."""

    rules: StopRules
    frame_mm: float | None
    largest: int = 0
    last: int = 0
    absent: int = 0
    seen: int = 0
    sure: float = 0.0
    doubted: int = 0

    def see(self, found: FrameMask) -> str:
        """Look at the next frame; the reason to stop, or "" to go on."""
        area = int(found.mask.sum())
        gone = area == 0 or (found.object_score is not None and found.object_score <= 0)
        self.absent = self.absent + 1 if gone else 0
        limit = self.rules.absent_frames
        if self.frame_mm:
            limit = max(limit, math.ceil(self.rules.absent_mm / self.frame_mm))
        if self.absent >= limit:
            return f"stopped: not seen on {self.absent} frames"
        self.seen += 1
        if self.seen == 2:  # the first frame after the one that was prompted
            self.sure = found.score
        self.doubted = self.doubted + 1 if found.score < self.rules.doubt * self.sure else 0
        if self.doubted >= self.rules.absent_frames:
            return f"stopped: predicted IoU down from {self.sure:.2f} to {found.score:.2f}"
        shrinking = area < self.last
        self.largest = max(self.largest, area)
        self.last = area
        if 0 < area < self.rules.vanish * self.largest and shrinking:
            return f"stopped: down to {area / self.largest:.1%} of its largest area"
        return ""
