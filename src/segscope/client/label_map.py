"""A label map that follows a session."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .session import RemoteSession
from .types import MaskUpdate, SessionUpdate


class LabelMap:
    """The masks of a session as one array of object numbers, updated by the results of commands.

    Attributes:
        labels: object numbers (frame, row, column) along the session's axis; 0 is background.
    """

    def __init__(self, session: RemoteSession) -> None:
        self.session = session
        self.labels: NDArray[np.uint16] = np.zeros(0, np.uint16)
        self.reload()

    def reload(self) -> None:
        """Fetch all masks."""
        self.labels = np.array(self.session.labels(), np.uint16)

    def apply(self, result: SessionUpdate) -> set[int]:
        """Apply the result of a command; the frames that it changed."""
        for update in result.changes:
            self.apply_update(update)
        for frame in result.stale:
            self.labels[frame] = self.session.labels(frame)
        return {update.frame for update in result.changes} | set(result.stale)

    def apply_update(self, update: MaskUpdate) -> None:
        """Apply one update of one mask."""
        if update.bbox is None:
            return
        x0, y0, x1, y1 = update.bbox
        region = self.labels[update.frame, y0:y1, x0:x1]
        region[(region == update.object_id) & ~update.pixels] = 0
        region[update.pixels] = update.object_id

    def propagate(self, **options: object) -> Iterator[int]:
        """Propagate as `RemoteSession.propagate` does; changed frames. Leaving the loop cancels."""
        for update in self.session.propagate(**options):
            self.apply_update(update)
            yield update.frame
