"""Curves of scores over clicks, and the scores of the CVPR 2025 challenge."""

from __future__ import annotations

import math

import numpy as np
import pytest

from segscope.errors import UsageError
from segscope.metrics.interactive import (
    area,
    challenge_round,
    challenge_scores,
    clicks_needed,
    extend_curve,
)
from segscope.metrics.surface import SurfaceDistances


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([0.9], 1),
        ([0.5, 0.89, 0.9, 0.2], 3),
        ([0.1] * 30, 20),
        ([0.1] * 25 + [1.0], 20),
        ([math.nan, 0.95], 2),
    ],
)
def test_clicks_needed(curve, expected):
    assert clicks_needed(curve, 0.9, limit=20) == expected


def test_who_stops_early_keeps_the_last_score():
    assert extend_curve([0.5, 0.9], 4).tolist() == [0.5, 0.9, 0.9, 0.9]
    assert extend_curve([0.5, 0.9, 1.0], 2).tolist() == [0.5, 0.9]


def test_area_is_the_mean_height():
    assert area([0.7]) == 0.7
    assert area([1, 1, 1, 1]) == 1
    assert area([0, 1]) == 0.5
    assert area([0, 1, 1], at=[0, 10, 40]) == pytest.approx((5 + 30) / 40)


@pytest.mark.parametrize(
    ("curve", "at"), [([], None), ([[1.0]], None), ([1, 2], [1, 1]), ([1, 2], [1])]
)
def test_no_curve_has_no_area(curve, at):
    with pytest.raises(UsageError):
        area(curve, at)


def test_challenge_areas_are_not_normalised_and_leave_out_the_box():
    scores = challenge_scores(np.ones((6, 1)), np.ones((6, 1)))
    assert (scores.dice_auc, scores.nsd_auc, scores.dice_final) == (4, 4, 1)
    dice = [[0.9], [0.0], [0.2], [0.4], [0.6], [0.8]]
    scores = challenge_scores(dice, np.zeros((6, 1)))
    assert scores.dice_auc == pytest.approx(0.1 + 0.3 + 0.5 + 0.7)
    assert (scores.dice_first, scores.dice_final, scores.nsd_auc) == (0.9, 0.8, 0)


def test_challenge_means_over_classes_that_are_present():
    absent = np.full((6, 1), np.nan)
    table = np.hstack([np.full((6, 1), 0.4), absent, np.full((6, 1), 0.8)])
    scores = challenge_scores(table, table)
    assert (scores.dice_final, scores.dice_auc) == (pytest.approx(0.6), pytest.approx(2.4))


def test_challenge_round_without_a_box_scores_nothing():
    table = np.ones((6, 2))
    table[0] = np.nan
    scores = challenge_scores(table, table)
    assert (scores.dice_first, scores.dice_auc) == (0, 4)


def test_challenge_gives_90_seconds_a_class():
    table = np.ones((6, 2))
    assert challenge_scores(table, table, seconds=180).dice_auc == 4
    late = challenge_scores(table, table, seconds=180.1)
    assert (late.dice_auc, late.nsd_final, late.dice_first) == (0, 0, 0)


def test_challenge_takes_six_rounds_of_a_class_that_is_there():
    with pytest.raises(UsageError, match="five clicks"):
        challenge_scores(np.ones((5, 1)), np.ones((5, 1)))
    with pytest.raises(UsageError, match="no class"):
        challenge_scores(np.full((6, 1), np.nan), np.ones((6, 1)))


def test_challenge_trusts_no_surface_of_a_poor_overlap():
    truth = np.zeros((12, 12, 12), bool)
    truth[2:8, 2:8, 2:8] = True
    thin = truth & (np.arange(12) == 2)[:, None, None]  # Dice 2 * 36 / (216 + 36)
    assert challenge_round(thin, truth, (1, 1, 1)) == (
        pytest.approx(2 / 7),
        SurfaceDistances.between(thin, truth).nsd(2),
    )
    assert challenge_round(thin & (np.arange(12) < 5), truth, (1, 1, 1)) == (
        pytest.approx(36 / 234),
        0,
    )
    assert challenge_round(~truth & False, truth) == (0, 0)
