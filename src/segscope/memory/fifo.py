"""SAM 2's own rule: the last frames, each at its distance (arXiv 2408.00714, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from segscope.memory.policy import Past


@dataclass(frozen=True, slots=True)
class Fifo:
    """The frames 1 to `slots` back; one that was never tracked leaves its place empty."""

    name: str = "fifo"
    reach: int = 1
    ordered: bool = True

    def choose(self, past: Sequence[Past], slots: int) -> list[tuple[int, Past]]:
        return [(item.distance, item) for item in past if item.distance <= slots]
