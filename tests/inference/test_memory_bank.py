from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from segscope.inference.memory_bank import TrackingStep, build_bank
from segscope.memory import Fifo, Past, SelfSorting
from segscope.models.engine import Memory

ENGINE: Any = SimpleNamespace(memory_frames=4, pointer_limit=6)


@dataclass
class Memories:
    """Memories whose pointer is the number of their frame."""

    anchors: Collection[int]
    tracked: Collection[int]

    def is_tracked(self, frame: int) -> bool:
        return frame in self.tracked

    def describe(self, frame: int, distance: int) -> Past:
        return Past(distance, 0.9, 5.0, lambda _other: 0.5)

    def load(self, frame: int, *, pointer_only: bool = False) -> Memory:
        assert frame in self.anchors or frame in self.tracked
        number = torch.tensor([float(frame)])
        return Memory(number, number, 0.9, 5.0)


def frames(pairs: Any) -> list[tuple[int, int]]:
    return [(age, int(memory.pointer)) for age, memory in pairs]


@pytest.mark.parametrize("direction", [1, -1])
def test_anchors_count_from_both_sides_and_the_last_frames_by_distance(direction: int) -> None:
    at = [10 + direction * offset for offset in range(-10, 11)]  # at[10] is the current frame
    memories = Memories({at[5], at[12]}, {at[6], at[7], at[8], at[9]})
    bank = build_bank(ENGINE, memories, TrackingStep(at[10], direction, 50), Fifo())
    anchors = sorted([at[5], at[12]])
    assert frames(bank.maps) == [
        *((0, frame) for frame in anchors),
        (1, at[9]),
        (2, at[8]),
        (3, at[7]),
    ]
    # pointers of anchors only once they were passed, then those of the nearest frames
    assert frames(bank.pointers) == [(5, at[5]), (1, at[9]), (2, at[8]), (3, at[7]), (4, at[6])]
    assert bank.longest == 6


def test_pointers_reach_no_further_than_the_stack_is_long() -> None:
    memories = Memories({0}, {1, 2})
    bank = build_bank(ENGINE, memories, TrackingStep(3, 1, 3), Fifo())
    assert bank.longest == 3
    assert frames(bank.pointers) == [(3, 0), (1, 2), (2, 1)]


def test_a_set_of_images_has_pointers_of_prompted_ones_only() -> None:
    memories = Memories({0}, {1, 2, 3})
    policy = SelfSorting("set", ordered=False)
    bank = build_bank(ENGINE, memories, TrackingStep(4, 1, 50), policy)
    assert frames(bank.pointers) == [(4, 0)]
    assert len(bank.maps) == 4
