"""A label map that follows what the server says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .session import Session
from .types import Answer, MaskPart


class Canvas:
    """The masks of a session as one array of object numbers, kept up to date by its answers.

    Attributes:
        labels: object numbers (frame, row, column) along the session's axis; 0 where there is none.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.labels: NDArray[np.uint16] = np.zeros(0, np.uint16)
        self.reload()

    def reload(self) -> None:
        """Fetch everything."""
        self.labels = np.array(self.session.labels(), np.uint16)

    def take(self, answer: Answer) -> set[int]:
        """What a command changed; the frames that look different now."""
        for part in answer.changes:
            self.put(part)
        for frame in answer.stale:
            self.labels[frame] = self.session.labels(frame)
        return {part.frame for part in answer.changes} | set(answer.stale)

    def put(self, part: MaskPart) -> None:
        """One part of one mask."""
        if part.bbox is not None:
            x0, y0, x1, y1 = part.bbox
            region = self.labels[part.frame, y0:y1, x0:x1]
            region[(region == part.object_id) & ~part.pixels] = 0
            region[part.pixels] = part.object_id

    def propagate(self, **options: Any) -> Iterator[int]:
        """Carry objects as `Session.propagate` does; frames that were changed. Leaving the loop
        cancels.
        """
        for part in self.session.propagate(**options):
            self.put(part)
            yield part.frame
