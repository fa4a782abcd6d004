"""Screen: the masks of a session as clients have them, and what a step changes there."""

from __future__ import annotations

from collections.abc import Mapping

from segscope.errors import UsageError
from segscope.masks import Runs
from segscope.serve.sessions.mask_patch import MaskPatch, difference_patch
from segscope.session import Interaction

MAX_FRAMES_SENT = 24  # whose changed masks come with one answer; further ones are named as stale

VisibleMasks = Mapping[int, Runs]


class Screen:
    """Masks by frame as they were last sent. Callers hold the session."""

    def __init__(self, work: Interaction) -> None:
        self._work = work
        self._visible: dict[int, VisibleMasks] = {}

    def masks(self, frame: int) -> VisibleMasks:
        """Masks by object on a frame.

        Raises:
            UsageError: there is no such frame.
        """
        frames = len(self._work.stack)
        if not 0 <= frame < frames:
            raise UsageError(f"there is no frame {frame}; this stack has frames 0 to {frames - 1}")
        if frame not in self._visible:
            self._visible[frame] = self._work.visible_masks(frame)
        return self._visible[frame]

    def score(self, frame: int, object_id: int) -> float | None:
        """The score of a mask, or None without one."""
        obj = self._work.objects.get(object_id)
        if obj is None or frame not in obj.answers:
            return None
        return round(float(obj.answers[frame].score), 4)

    def compare(self, frames: set[int], focus: frozenset[int]) -> tuple[list[MaskPatch], list[int]]:
        """Patches of the frames that are sent, and the numbers of the other frames.

        Args:
            frames: on which masks may have changed.
            focus: frames that are always sent.
        """
        patches: list[MaskPatch] = []
        stale: list[int] = []
        ordered = sorted(frames, key=lambda frame: (frame not in focus, frame))
        for number, frame in enumerate(ordered):
            if frame in self._visible and (number < MAX_FRAMES_SENT or frame in focus):
                patches += self.refresh(frame)
            else:
                self._visible.pop(frame, None)
                stale.append(frame)
        return patches, stale

    def refresh(self, frame: int) -> list[MaskPatch]:
        """Patches from what clients have of a frame to its present masks."""
        before = self._visible.get(frame, {})
        after = self._work.visible_masks(frame)
        self._visible[frame] = after
        patches = []
        for object_id in sorted({*before, *after}):
            patch = difference_patch(
                frame,
                object_id,
                before.get(object_id),
                after.get(object_id),
                self._work.stack.size_hw,
                score=self.score(frame, object_id),
            )
            if patch is not None:
                patches.append(patch)
        return patches
