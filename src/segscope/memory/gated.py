"""Confidence gate: attend only to frames on which the network was sure to see the object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from segscope.memory.policy import Past


@dataclass(frozen=True, slots=True)
class Gated:
    """The nearest frames with the object present and a predicted IoU above `least_iou`, aged by
    their order.

    A stretch of doubtful frames is looked past, up to `reach` times the usual distance.
    """

    name: str = "gated"
    reach: int = 3
    ordered: bool = True
    least_iou: float = 0.5

    def choose(self, past: Sequence[Past], slots: int) -> list[tuple[int, Past]]:
        sure = [item for item in past if item.object_score > 0 and item.iou > self.least_iou]
        return list(enumerate(sure[:slots], start=1))
