"""Efficient frame pruning: drop what says the same as the newest frame (SurgSAM-2, arXiv
2408.07931, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from segscope.memory.policy import Past


@dataclass(frozen=True, slots=True)
class Pruned:
    """SAM 2's frames without the `drop` that are most similar to the newest, once all places are
    filled.

    The paper keeps four tracked frames and the prompted one; here every prompted frame stays.
    """

    name: str = "pruned"
    reach: int = 1
    ordered: bool = True
    drop: int = 2

    def choose(self, past: Sequence[Past], slots: int) -> list[tuple[int, Past]]:
        recent = [item for item in past if item.distance <= slots]
        dropped: set[int] = set()
        if len(recent) >= slots > self.drop:
            newest, *older = recent
            most_similar = sorted(older, key=newest.similarity, reverse=True)[: self.drop]
            dropped = {item.distance for item in most_similar}
        return [(item.distance, item) for item in recent if item.distance not in dropped]
