"""What a simulated person looks at: the object, the answer so far, and what has been said about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segscope.prompts import Point, Prompt
from segscope.simulate.regions import Mask, parts

Rng = np.random.Generator


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One object to point at.

    Attributes:
        truth: (frame, row, column) bool.
        found: the answer so far, of the same shape, or None before the first one.
        frame: where to prompt; simulators of whole stacks choose for themselves.
        object_id: what the prompts are about.
        given: all earlier prompts.
    """

    truth: NDArray[np.bool_]
    found: NDArray[np.bool_] | None = None
    frame: int = 0
    object_id: int = 1
    given: tuple[Prompt, ...] = ()

    @property
    def mask(self) -> Mask:
        """The object (row, column) on the frame."""
        return self.truth[self.frame]

    def errors(self) -> tuple[Mask, Mask]:
        """What is missed and what is surplus on the frame, both (row, column); at first the whole
        object is missed.
        """
        if self.found is None:
            return self.mask, np.zeros_like(self.mask)
        found = self.found[self.frame]
        return self.mask & ~found, found & ~self.mask

    def region(self) -> tuple[Mask, bool]:
        """Where a stroke goes, and its sign: the object at first, then the largest part of the
        larger error.
        """
        missed, surplus = self.errors()
        if self.found is None:
            return missed, True
        positive = int(missed.sum()) >= int(surplus.sum())
        largest = np.zeros_like(missed)
        for where, part in parts(missed if positive else surplus, most=1):
            largest[where] = part
        return largest, positive

    def clicked(self, frame: int | None = None) -> list[tuple[int, int]]:
        """Pixels (row, column) of the frame that were clicked before for this object."""
        if frame is None:
            frame = self.frame
        rows, columns = self.truth.shape[1:]
        return [
            (min(max(int(prompt.y), 0), rows - 1), min(max(int(prompt.x), 0), columns - 1))
            for prompt in self.given
            if isinstance(prompt, Point)
            and (prompt.frame, prompt.object_id) == (frame, self.object_id)
        ]

    def click(
        self, row: int, column: int, positive: bool = True, frame: int | None = None
    ) -> Point:
        """A click on the centre of a pixel."""
        if frame is None:
            frame = self.frame
        return Point(
            float(column) + 0.5, float(row) + 0.5, int(frame), self.object_id, bool(positive)
        )
