"""What a simulated annotator works on: an object, the current prediction, and earlier prompts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segscope.prompts import Point, Prompt
from segscope.simulate.regions import Mask, parts

Rng = np.random.Generator


@dataclass(frozen=True, slots=True, eq=False)
class AnnotationTarget:
    """One object to annotate.

    Attributes:
        truth: (frame, row, column) bool.
        predicted: the current mask, of the same shape, or None before the first prompt.
        frame: where to prompt; simulators of whole stacks choose for themselves.
        object_id: the object of the prompts.
        prompts: all earlier prompts.
    """

    truth: NDArray[np.bool_]
    predicted: NDArray[np.bool_] | None = None
    frame: int = 0
    object_id: int = 1
    prompts: tuple[Prompt, ...] = ()

    @property
    def mask(self) -> Mask:
        """The object (row, column) on the frame."""
        return self.truth[self.frame]

    def errors(self) -> tuple[Mask, Mask]:
        """Missed and surplus pixels of the frame, both (row, column); before the first prompt the
        whole object is missed.
        """
        if self.predicted is None:
            return self.mask, np.zeros_like(self.mask)
        predicted = self.predicted[self.frame]
        return self.mask & ~predicted, predicted & ~self.mask

    def region(self) -> tuple[Mask, bool]:
        """Where a stroke goes, and its sign: the object at first, then the largest part of the
        larger error.
        """
        missed, surplus = self.errors()
        if self.predicted is None:
            return missed, True
        positive = int(missed.sum()) >= int(surplus.sum())
        error = surplus
        if positive:
            error = missed
        largest = np.zeros_like(missed)
        for where, part in parts(error, most=1):
            largest[where] = part
        return largest, positive

    def clicked(self, frame: int | None = None) -> list[tuple[int, int]]:
        """Pixels (row, column) of the frame that were clicked before for this object."""
        if frame is None:
            frame = self.frame
        return list(map(self._pixel, self._points(frame)))

    def _points(self, frame: int) -> Iterator[Point]:
        place = (frame, self.object_id)
        for prompt in self.prompts:
            if isinstance(prompt, Point) and (prompt.frame, prompt.object_id) == place:
                yield prompt

    def _pixel(self, point: Point) -> tuple[int, int]:
        rows, columns = self.truth.shape[1:]
        row = min(max(int(point.y), 0), rows - 1)
        column = min(max(int(point.x), 0), columns - 1)
        return row, column

    def click(
        self,
        row: int,
        column: int,
        positive: bool = True,
        frame: int | None = None,
    ) -> Point:
        """A click on the centre of a pixel."""
        if frame is None:
            frame = self.frame
        x = float(column) + 0.5
        y = float(row) + 0.5
        return Point(x, y, int(frame), self.object_id, bool(positive))
