"""Distances between surfaces."""

from __future__ import annotations

import math

import numpy as np

from segscope.metrics.surface import SurfaceDistances


def _empty_and_part(shape):
    part = np.zeros(shape, bool)
    part[..., 2:5, 3:7] = True
    return np.zeros(shape, bool), part


def test_surfaces_of_empty_masks_have_no_distance():
    empty, part = _empty_and_part((9, 10))
    for pair in (SurfaceDistances.between(empty, part), SurfaceDistances.between(empty, empty)):
        assert all(math.isnan(value) for value in (pair.hd, pair.hd95, pair.assd, pair.nsd(1)))


def test_a_distance_that_is_the_tolerance_on_paper_is_within_it():
    truth = np.zeros((9, 9), bool)
    truth[4, 4] = True
    # 3 * 0.1 is a little more than 0.3 for the machine
    assert SurfaceDistances.between(np.roll(truth, 3, axis=0), truth, (0.1, 0.1)).nsd(0.3) == 1
