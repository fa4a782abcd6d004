"""Outlines: F as DAVIS defines it, J&F as SAM 2 averages it, boundary IoU, EndoVis."""

from __future__ import annotations

import math

import numpy as np
import pytest

from segscope.errors import UsageError
from segscope.metrics.boundary import boundary_iou, contour, contour_f, region_contour


def _slow_contour(mask):
    """Pixels whose right, lower or lower right neighbour inside the frame differs."""
    rows, columns = mask.shape
    result = np.zeros_like(mask)
    for y in range(rows):
        for x in range(columns):
            # at the border a missing neighbour is replaced by the pixel beside it, so the last
            # pixel has none
            right, below = min(x + 1, columns - 1), min(y + 1, rows - 1)
            result[y, x] = any(
                mask[y, x] != other
                for other in (mask[y, right], mask[below, x], mask[below, right])
            )
    return result


def _slow_f(found, truth):
    """From the definition: dilate one contour with a disc, count the pixels of the other inside."""
    radius = math.ceil(0.008 * math.hypot(*truth.shape))
    disc = [
        (dy, dx)
        for dy in range(-radius, radius + 1)
        for dx in range(-radius, radius + 1)
        if dy * dy + dx * dx <= radius * radius
    ]
    one, two = (set(zip(*np.nonzero(_slow_contour(mask)), strict=True)) for mask in (found, truth))
    if not one and not two:
        return 1.0
    grown = [{(y + dy, x + dx) for y, x in part for dy, dx in disc} for part in (one, two)]
    precision = len(one & grown[1]) / len(one) if one else 1.0
    recall = len(two & grown[0]) / len(two) if two else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def test_f_is_that_of_the_definition(random_pair):
    for seed in range(0, 80, 2):
        found, truth, _ = random_pair(seed)
        # wide images have discs of 2 and 3 pixels
        pad = ((0, 0), (0, {2: 150, 4: 280}.get(seed % 20, 0)))
        found, truth = np.pad(found, pad), np.pad(truth, pad)
        assert np.array_equal(contour(found), _slow_contour(found))
        assert contour_f(found, truth) == pytest.approx(_slow_f(found, truth)), seed


def test_frames_without_the_object():
    empty, full, part = np.zeros((9, 9), bool), np.ones((9, 9), bool), np.zeros((9, 9), bool)
    part[3:6, 3:6] = True
    assert contour_f(empty, empty) == 1
    assert contour_f(part, empty) == contour_f(empty, part) == 0
    assert contour_f(full, empty) == 1  # a mask that fills the frame has no contour, in DAVIS too
    scores = region_contour(
        np.stack([empty, part, empty, part]), np.stack([empty, empty, part, part])
    )
    # the first frame has the object in neither mask and does not count
    assert (scores.j, scores.f, scores.mean) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    nothing = np.stack([empty, empty])
    assert region_contour(nothing, nothing).mean == 1
    later = region_contour(np.stack([part, empty]), np.stack([part, empty]))
    assert later.mean == 1


def test_first_and_last_frame_may_be_skipped():
    empty, part = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    part[3:6, 3:6] = True
    found, truth = np.stack([empty, part, part, empty]), np.stack([part] * 4)
    assert region_contour(found, truth).j == 0.5
    assert region_contour(found, truth, skip_ends=True).j == 1
    with pytest.raises(UsageError, match="none is left"):
        region_contour(found[:2], truth[:2], skip_ends=True)


def test_boundary_iou_by_hand():
    truth = np.zeros((60, 60), bool)
    truth[10:30, 10:30] = True
    # 2 % of the diagonal of 84.9 is 2 pixels: bands of 20² - 16²; shifted by one row
    found = np.roll(truth, 1, axis=0)
    band = np.zeros_like(truth)
    band[10:30, 10:30] = True
    band[12:28, 12:28] = False
    moved = np.roll(band, 1, axis=0)
    assert boundary_iou(found, truth) == (band & moved).sum() / (band | moved).sum()
    assert boundary_iou(np.stack([found, truth]), np.stack([truth, truth])) == (
        ((band & moved).sum() + band.sum()) / ((band | moved).sum() + band.sum())
    )


def test_the_border_of_the_frame_is_an_outline_for_boundary_iou():
    full = np.ones((60, 60), bool)
    ring = full.copy()
    ring[2:-2, 2:-2] = False
    assert boundary_iou(ring, full) == 1
    assert math.isnan(boundary_iou(~full, ~full))
