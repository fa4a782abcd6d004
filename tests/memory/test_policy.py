from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segscope.errors import UnknownName
from segscope.memory import POLICIES, Fifo, Gated, MemoryPolicy, Past, Pruned, policy


def past(distance: int, iou: float = 0.9, presence: float = 5.0, direction: float = 0.0) -> Past:
    """A frame whose similarity to another falls with the difference of their directions."""
    item = Past(distance, iou, presence, lambda other: -abs(direction - directions[other.distance]))
    directions[distance] = direction
    return item


directions: dict[int, float] = {}


@pytest.mark.parametrize("entry", POLICIES, ids=lambda entry: entry.name)
class TestEveryPolicy:
    @given(
        distances=st.sets(st.integers(1, 30)), slots=st.integers(1, 8), seed=st.integers(0, 1000)
    )
    def test_ages_are_different_and_within_the_slots(
        self, entry: MemoryPolicy, distances: set[int], slots: int, seed: int
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        items = [past(d, *torch.rand(3, generator=generator).tolist()) for d in sorted(distances)]
        chosen = entry.choose(items, slots)
        ages = [age for age, _ in chosen]
        assert len(set(ages)) == len(ages) <= slots
        assert all(1 <= age <= slots for age in ages)
        assert all(item in items for _, item in chosen)

    def test_nothing_remembered(self, entry: MemoryPolicy) -> None:
        assert entry.choose([], 6) == []


def test_fifo_leaves_gaps() -> None:
    assert [age for age, _ in Fifo().choose([past(1), past(4), past(9)], 6)] == [1, 4]


def test_pruned_drops_what_is_most_like_the_newest() -> None:
    items = [
        past(d, direction=direction)
        for d, direction in enumerate([0.0, 0.1, 3.0, 0.2, 2.0, 1.0], start=1)
    ]
    assert [age for age, _ in Pruned().choose(items, 6)] == [1, 3, 5, 6]


def test_pruned_keeps_all_until_the_places_are_filled() -> None:
    assert len(Pruned().choose([past(d) for d in range(1, 6)], 6)) == 5


def test_gated_looks_past_doubt() -> None:
    items = [past(1, iou=0.2), past(2), past(3, presence=-1.0), past(4)]
    assert [(age, item.distance) for age, item in Gated().choose(items, 6)] == [(1, 2), (2, 4)]


def test_unknown_policy_names_near_ones() -> None:
    with pytest.raises(UnknownName, match="pruned"):
        policy("prune")
