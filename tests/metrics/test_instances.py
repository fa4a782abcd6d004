"""Many objects: matching, and the scores of StarDist, Cellpose and panoptic segmentation."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from scipy import ndimage

from segscope.errors import UsageError
from segscope.metrics.instances import aggregated_jaccard, instance_scores, match, overlaps


@pytest.fixture
def two_cells():
    """Truth: cells of 20 and 20 pixels; found: one with IoU 0.8, one with IoU 0.5, and a surplus
    one of 4.
    """
    truth, found = np.zeros((20, 20), int), np.zeros((20, 20), int)
    truth[0:4, 0:5], truth[10:14, 0:5] = 1, 7
    found[0:4, 0:4], found[10:12, 0:5], found[17:19, 17:19] = 3, 9, 4
    return found, truth


def test_hand_computed_scores(two_cells):
    half, strict, none = instance_scores(*two_cells, thresholds=(0.5, 0.7, 0.9))
    assert (half.tp, half.fp, half.fn) == (2, 1, 0)
    assert (half.precision, half.recall, half.f1) == (pytest.approx(2 / 3), 1, pytest.approx(0.8))
    assert (half.ap, half.sq, half.pq) == (
        pytest.approx(2 / 3),
        pytest.approx(0.65),
        pytest.approx(0.52),
    )
    assert (strict.tp, strict.fp, strict.fn, strict.ap) == (1, 2, 1, 0.25)
    assert (strict.sq, strict.pq) == (pytest.approx(0.8), pytest.approx(0.8 * 2 / 5))
    assert (none.tp, none.ap, none.f1, none.sq, none.pq) == (0, 0, 0, 0, 0)


def test_aggregated_jaccard_by_hand(two_cells):
    found, truth = two_cells
    # shared 16 + 10, either 20 + 20, and 4 that serve none
    assert aggregated_jaccard(found, truth) == pytest.approx(26 / 44)
    truth[18, 0:5] = 8  # a missed cell adds its area
    assert aggregated_jaccard(found, truth) == pytest.approx(26 / 49)


def test_label_maps_and_lists_of_masks_say_the_same(two_cells):
    masks = [[labels == label for label in np.unique(labels)[1:]] for labels in two_cells]
    assert instance_scores(*masks) == instance_scores(*two_cells)
    assert instance_scores(np.stack(masks[0]), two_cells[1]) == instance_scores(*two_cells)


def test_two_halves_of_a_cell_match_it_once():
    truth = np.zeros((1, 4, 8), bool)
    truth[0, :, :] = True
    halves = np.zeros((2, 4, 8), bool)
    halves[0, :, :4], halves[1, :, 4:] = True, True
    scores = instance_scores(halves, truth, thresholds=(0.5,))[0]
    assert (scores.tp, scores.fp, scores.fn) == (1, 1, 0)


def test_overlapping_masks_are_matched_so_that_most_have_a_partner():
    """If the best pair came first, the first of each, the others would be left without a pair."""
    row = np.arange(100)
    truth = [row < 40, (row >= 4) & (row < 42)]
    found = [row < 40, row < 36]
    pairs = overlaps(found, truth)
    chosen = match(pairs, 0.75)
    # IoU: (0, 0) 1, (0, 1) 0.857, (1, 0) 0.9, (1, 1) 0.762
    assert sorted(
        zip(pairs.predicted[chosen].tolist(), pairs.truth[chosen].tolist(), strict=True)
    ) == [
        (0, 0),
        (1, 1),
    ]
    chosen = match(pairs, 0.8)
    assert sorted(
        zip(pairs.predicted[chosen].tolist(), pairs.truth[chosen].tolist(), strict=True)
    ) == [
        (0, 1),
        (1, 0),
    ]


def test_matching_is_the_best_of_all_matchings():
    for seed in range(30):
        rng = np.random.default_rng(seed)
        found, truth = (rng.random((count, 40)) < 0.5 for count in rng.integers(1, 6, 2))
        table = np.array([[(a & b).sum() / (a | b).sum() for b in truth] for a in found])
        threshold = rng.uniform(0.1, 0.5)
        few, many = sorted(table.shape)
        square = table if table.shape[0] == few else table.T
        best = (0, 0.0)
        for order in permutations(range(many), few):
            kept = [square[i, j] for i, j in enumerate(order) if square[i, j] >= threshold]
            best = max(best, (len(kept), round(sum(kept), 9)))
        pairs = overlaps(found, truth)
        chosen = match(pairs, threshold)
        assert (len(chosen), round(float(pairs.iou[chosen].sum()), 9)) == best, seed
        assert len(set(pairs.predicted[chosen])) == len(set(pairs.truth[chosen])) == len(chosen)


def test_pairs_are_those_of_the_definition():
    rng = np.random.default_rng(3)
    found, truth = (
        ndimage.label(ndimage.gaussian_filter(rng.normal(size=(60, 70)), 2) > 0.05)[0]
        for _ in range(2)
    )
    pairs = overlaps(found, truth)
    assert pairs.areas_predicted.tolist() == np.bincount(found.ravel())[1:].tolist()
    assert len(pairs.iou) == len(
        np.unique(np.stack([found, truth])[:, (found > 0) & (truth > 0)], axis=1).T
    )
    for one, two, value in zip(pairs.predicted + 1, pairs.truth + 1, pairs.iou, strict=True):
        assert (
            value
            == ((found == one) & (truth == two)).sum() / ((found == one) | (truth == two)).sum()
        )


def test_nothing_found_and_nothing_there():
    empty, some = np.zeros((5, 5), int), np.eye(5, dtype=int)
    nothing = instance_scores(empty, empty)[0]
    assert all(
        math.isnan(value)
        for value in (nothing.ap, nothing.f1, nothing.pq, aggregated_jaccard(empty, empty))
    )
    for missed in (instance_scores(empty, some)[0], instance_scores([], some)[0]):
        assert (missed.tp, missed.fn, missed.ap, missed.precision, missed.pq) == (0, 1, 0, 0, 0)
    assert instance_scores(some, [])[0].fp == 1
    assert aggregated_jaccard(empty, some) == aggregated_jaccard(some, empty) == 0
    assert math.isnan(instance_scores([], [])[0].ap)


@pytest.mark.parametrize(
    ("found", "truth"),
    [
        (np.zeros((3, 3), int), np.zeros((3, 4), int)),
        (np.zeros((3, 3)), np.zeros((3, 3), int)),
        (np.full((3, 3), -1), np.zeros((3, 3), int)),
        ([np.ones((2, 2), bool), np.ones((2, 3), bool)], []),
    ],
)
def test_other_objects_are_refused(found, truth):
    with pytest.raises(UsageError):
        overlaps(found, truth)
