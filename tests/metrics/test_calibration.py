"""Predicted against true IoU."""

from __future__ import annotations

import math

import numpy as np
import pytest

from segscope.errors import UsageError
from segscope.metrics.calibration import calibration


def test_hand_computed_values():
    result = calibration([0.15, 0.25, 0.85, 0.95, math.nan], [0.1, 0.3, 0.5, 0.9, 0.4], bins=2)
    assert result.n == 4
    assert result.bias == pytest.approx(0.1)
    assert result.mae == pytest.approx((0.05 + 0.05 + 0.35 + 0.05) / 4)
    assert [(row.n, row.predicted, row.true) for row in result.bins] == [
        (2, pytest.approx(0.2), pytest.approx(0.2)),
        (2, pytest.approx(0.9), pytest.approx(0.7)),
    ]
    assert result.ece == pytest.approx(0.5 * 0 + 0.5 * 0.2)
    assert result.pearson == pytest.approx(
        np.corrcoef([0.15, 0.25, 0.85, 0.95], [0.1, 0.3, 0.5, 0.9])[0, 1]
    )
    assert result.spearman == pytest.approx(1)


def test_a_network_that_always_says_the_same_has_no_correlation():
    result = calibration([0.8, 0.8, 0.8], [0.7, 0.8, 0.9])
    assert math.isnan(result.pearson)
    assert math.isnan(result.spearman)
    assert result.ece == pytest.approx(0)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_pairs_have_no_correlation(n):
    result = calibration([0.5] * n, [0.4] * n)
    assert (result.n, math.isnan(result.pearson), math.isnan(result.ece)) == (n, True, n == 0)


def test_predictions_beyond_0_and_1_are_in_the_outer_bins():
    assert [row.n for row in calibration([-0.1, 0, 1, 1.02], [0, 0, 1, 1], bins=3).bins] == [
        2,
        0,
        2,
    ]


def test_predictions_need_as_many_truths():
    with pytest.raises(UsageError):
        calibration([0.1, 0.2], [0.1])
