"""Counts of pixels by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from segscope.errors import UsageError
from segscope.metrics import overlap

TRUTH = np.zeros((4, 5), bool)
TRUTH[:2] = True  # 10 pixels
PREDICTED = np.zeros((4, 5), bool)
PREDICTED[1:3, :4] = True  # 8 pixels, 4 of them in the truth
EMPTY = np.zeros((4, 5), bool)


def test_hand_computed_values() -> None:
    assert overlap.dice(PREDICTED, TRUTH) == pytest.approx(8 / 18)
    assert overlap.iou(PREDICTED, TRUTH) == pytest.approx(4 / 14)
    assert overlap.precision(PREDICTED, TRUTH) == 0.5
    assert overlap.recall(PREDICTED, TRUTH) == 0.4
    assert overlap.volume(TRUTH) == 10
    assert overlap.volume_difference(PREDICTED, TRUTH, (2.0, 0.5)) == -2
    assert overlap.relative_volume_difference(PREDICTED, TRUTH) == -0.2


def test_values_that_are_not_numbers_are_refused() -> None:
    soft = PREDICTED.astype(np.float32)
    soft[0, 0] = np.nan
    with pytest.raises(UsageError, match="predicted mask has 1 values that are NaN"):
        overlap.as_masks(soft, TRUTH)
    with pytest.raises(UsageError, match="truth has 1 values"):
        overlap.as_masks(PREDICTED, soft)


def test_without_pixels_ratios_are_undefined() -> None:
    assert math.isnan(overlap.dice(EMPTY, EMPTY))
    assert math.isnan(overlap.iou(EMPTY, EMPTY))
    assert math.isnan(overlap.precision(EMPTY, TRUTH))
    assert math.isnan(overlap.recall(TRUTH, EMPTY))
    assert overlap.dice(EMPTY, TRUTH) == 0


def test_masks_must_have_one_shape_of_two_or_three_axes() -> None:
    numbers, truth = overlap.as_masks(PREDICTED * 3, TRUTH)
    assert (numbers == PREDICTED).all()
    assert truth.dtype == bool
    with pytest.raises(UsageError, match="must have one shape"):
        overlap.as_masks(PREDICTED, TRUTH.T)
    with pytest.raises(UsageError, match="must have one shape"):
        overlap.as_masks(np.zeros(3), np.zeros(3))
