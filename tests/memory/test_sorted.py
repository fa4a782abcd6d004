"""Self-sorting memory bank of MedSAM-2 (Oxford)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from support.engines import make_engine

from segscope.memory import Past, SelfSorting
from segscope.memory.sorted import most_different, outdated
from segscope.prompts import Box
from segscope.session import Interaction
from segscope.stack import Stack

VECTORS = {1: (1.0, 0.0), 2: (0.0, 1.0), 3: (0.8, 0.6), 4: (0.6, 0.8)}


def entries(
    vectors: dict[int, tuple[float, ...]], iou: float = 0.9, now: tuple[float, ...] = ()
) -> list[Past]:
    """Frames whose memories are vectors, by distance; `now` is that of the current frame."""

    def cosine(a: tuple[float, ...], b: tuple[float, ...]) -> float:
        return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))

    return [
        Past(
            distance,
            iou,
            5.0,
            lambda other, own=vector: cosine(own, vectors[other.distance]),
            lambda own=vector: cosine(own, now) if now else 1.0,
        )
        for distance, vector in sorted(vectors.items())
    ]


def test_of_four_entries_the_three_that_differ_most_stay() -> None:
    # 1 - cos: 12 1.0, 13 0.2, 14 0.4, 23 0.4, 24 0.2, 34 0.04; totals 1.6, 1.6, 0.64, 0.64: of
    # equals the nearer stays
    kept = SelfSorting(size=3).bank(entries(VECTORS))
    assert [item.distance for item in kept] == [1, 2, 3]
    assert [item.distance for item in SelfSorting(size=2).bank(entries(VECTORS))] == [1, 2]


def test_doubtful_frames_stay_outside() -> None:
    items = entries(VECTORS, iou=0.4)
    assert SelfSorting().bank(items) == []
    absent = [Past(1, 0.9, -1.0, lambda other: 1.0)]
    assert SelfSorting().bank(absent) == []


def test_the_released_rule_replaces_as_by_hand() -> None:
    # entries x, y, z; the new one n is least like x (0.1), and z is most like x (0.9): z goes
    alike = [[1.0, 0.3, 0.9], [0.3, 1.0, 0.2], [0.9, 0.2, 1.0]]
    assert outdated([0.1, 0.5, 0.6], alike, 0.85, [0.9, 0.9, 0.9]) == 2
    assert (
        outdated([0.1, 0.5, 0.6], alike, 0.79, [0.9, 0.9, 0.9]) is None
    )  # 0.79 is not above 0.9 - 0.1
    assert outdated([0.95, 0.97, 0.96], alike, 0.99, [0.9, 0.9, 0.9]) is None  # as like x as z is


def test_the_order_of_a_set_counts_for_the_released_rule_only() -> None:
    """The report on order: of six images in all 720 orders, how many different banks of three come
    out.
    """
    rng = np.random.default_rng(3)
    vectors = [tuple(row) for row in np.abs(rng.normal(size=(6, 4))).tolist()]
    banks: dict[str, set[frozenset[tuple[float, ...]]]] = {"total": set(), "pairs": set()}
    for order in itertools.permutations(vectors):
        items = entries(dict(enumerate(order, 1)))
        for rule, found in banks.items():
            kept = SelfSorting(size=3, rule=rule).bank(items)  # type: ignore[arg-type]
            found.add(frozenset(order[item.distance - 1] for item in kept))
    assert len(banks["total"]) == 1
    assert len(banks["pairs"]) > 1


def test_what_looks_alike_is_recalled_more_often() -> None:
    vectors = {d: (1.0, 0.0) if d % 2 else (0.1, 1.0) for d in range(1, 13)}
    items = entries(vectors, now=(1.0, 0.0))
    odd = [
        sum(
            item.distance % 2
            for _, item in SelfSorting("x", ordered=False, seed=seed).choose(items, 4)
        )
        / 4
        for seed in range(200)
    ]
    assert 0.75 < float(np.mean(odd)) < 1.0


def test_draws_are_the_same_every_time() -> None:
    items = entries({d: (1.0, float(d)) for d in range(1, 13)}, now=(1.0, 1.0))
    assert SelfSorting().choose(items, 4) == SelfSorting().choose(items, 4)


def test_stacks_keep_the_order_of_frames_and_the_nearest() -> None:
    items = entries({d: (1.0, float(d)) for d in range(1, 13)}, now=(1.0, 12.0))
    chosen = SelfSorting().choose(items, 4)
    assert chosen[0] == (1, items[0])
    assert [age for age, _ in chosen] == [1, 2, 3, 4]
    assert [item.distance for _, item in chosen] == sorted(item.distance for _, item in chosen)


def test_sets_put_the_most_alike_first() -> None:
    items = entries({d: (1.0, float(d)) for d in range(1, 4)}, now=(1.0, 9.0))
    chosen = SelfSorting("x", ordered=False).choose(items, 4)
    assert [item.distance for _, item in chosen] == [3, 2, 1]


def test_most_different_of_none() -> None:
    assert most_different([], 3) == []


@pytest.mark.parametrize("family", ["sam2", "mini"])
@pytest.mark.parametrize("ordered", [True, False])
def test_tracking_with_a_bank_smaller_than_the_past(family: str, ordered: bool) -> None:
    drawn = []

    class Watched(SelfSorting):
        def choose(self, past: Sequence[Past], slots: int) -> list[tuple[int, Past]]:
            drawn.append((len(self.bank(past)), len(past)))
            return super().choose(past, slots)

    rng = np.random.default_rng(0)
    frames = (60 + 12 * rng.normal(size=(12, 48, 48))).clip(0, 255).astype(np.uint8)
    frames[:, 14:34, 14:34] += 100
    engine = make_engine(family)
    engine.memory_frames = 3
    torch.set_num_threads(1)
    found = []
    # random networks are neither sure nor see anything
    policy = Watched("x", ordered=ordered, size=4, least_iou=-9.0)
    for _ in range(2):
        with Interaction(Stack.from_array(frames), engine, memory=policy) as work:
            work.add(Box((13, 13, 35, 35)))
            found.append([one.mask for one in work.propagate()])
    assert len(found[0]) == 12
    assert max(bank for bank, _ in drawn) == 4
    assert max(past for _, past in drawn) == 11 - 1
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))
