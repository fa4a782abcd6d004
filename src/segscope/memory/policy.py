"""Memory policy: chooses the past frames that tracking attends to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Past:
    """One tracked frame that could be attended to.

    Attributes:
        distance: frames between it and the current one, at least 1.
        iou: predicted IoU of its mask, 0 to 1.
        object_score: logit of "the object was there".
        similarity: cosine similarity of its memory with that of another `Past`, mean over
            positions.
        likeness: cosine similarity of the features of its frame with those of the current one.
    """

    distance: int
    iou: float
    object_score: float
    similarity: Callable[[Past], float]
    likeness: Callable[[], float] = lambda: 1.0


class MemoryPolicy(Protocol):
    """Chooses among tracked frames; prompted frames are always attended to."""

    @property
    def name(self) -> str:
        """What users type."""

    @property
    def reach(self) -> int:
        """How many frames back it chooses from, in units of the family's memory frames."""

    @property
    def ordered(self) -> bool:
        """Whether frames follow each other; if not, only prompted frames give object pointers,
        which carry distances.
        """

    def choose(self, past: Sequence[Past], slots: int) -> list[tuple[int, Past]]:
        """The (age, past) pairs to attend to.

        Args:
            past: nearest first, no two with the same distance.
            slots: most frames that the family was trained to attend to besides the prompted ones.

        Returns:
            pairs with different ages in 1 to `slots`.
        """
