"""Intervals of means and medians over patients."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from segscope.metrics.intervals import (
    LEAST_PATIENTS,
    Interval,
    few_patients,
    mean_interval,
    mean_interval_of_sets,
    median_interval,
)

UNIT = (0.0, 1.0)
DICE = 9 / 10.5  # mean of the Dice below


def draw_dice(rng: np.random.Generator, patients: int, failures: float) -> NDArray[np.float64]:
    values = rng.beta(9, 1.5, patients)
    values[rng.random(patients) < failures] = 0
    return values


def coverage(patients: int, failures: float, samples: int = 400) -> float:
    rng = np.random.default_rng(0)
    intervals = [mean_interval(draw_dice(rng, patients, failures), UNIT) for _ in range(samples)]
    return float(np.mean([each.contains((1 - failures) * DICE) for each in intervals]))


@pytest.mark.parametrize("patients", [5, 10, 30])
def test_an_interval_of_dice_holds_the_mean_as_often_as_it_says(patients: int) -> None:
    assert coverage(patients, 0.0) >= 0.93
    assert coverage(patients, 0.1) >= 0.88


def test_without_bounds_it_is_students() -> None:
    values = np.random.default_rng(1).normal(3, 2, 12)
    half = stats.t.ppf(0.975, 11) * stats.sem(values)
    interval = mean_interval(values)
    assert interval.low == pytest.approx(values.mean() - half)
    assert interval.high == pytest.approx(values.mean() + half)


def test_the_bounds_of_a_scale_widen_it_and_limit_it() -> None:
    values = [0.9, 0.92, 0.95, 0.97, 0.99]
    plain = mean_interval(values)
    bounded = mean_interval(values, UNIT)
    assert bounded.low < plain.low
    assert plain.high < bounded.high <= 1
    assert mean_interval([1.0] * 6, UNIT).high == 1
    assert mean_interval([1.0] * 6, UNIT).low < 0.9  # a failure may not have been drawn


def test_one_set_has_the_interval_of_its_values() -> None:
    values = np.random.default_rng(2).random(9)
    assert mean_interval_of_sets([values], UNIT) == mean_interval(values, UNIT)


def test_sets_count_equally() -> None:
    first = np.random.default_rng(3).normal(0.7, 0.05, 40)
    second = np.random.default_rng(4).normal(0.9, 0.2, 6)
    interval = mean_interval_of_sets([first, second])
    assert (interval.low + interval.high) / 2 == pytest.approx((first.mean() + second.mean()) / 2)
    # the many patients of the first set add next to nothing
    wider = mean_interval(second)
    assert interval.high - interval.low == pytest.approx((wider.high - wider.low) / 2, rel=0.05)


@pytest.mark.parametrize("count", range(LEAST_PATIENTS))
def test_few_values_have_no_interval_but_a_reason(count: int) -> None:
    for interval in (mean_interval([0.5] * count), median_interval([0.5] * count)):
        assert not interval.exists
        assert interval.note == f"too few patients for an interval: {count} of 5"


def test_what_cannot_be_known_has_no_interval() -> None:
    assert "one patient" in mean_interval_of_sets([[0.5] * 9, [0.4]]).note
    assert "not finite" in mean_interval([1.0] * 9 + [math.inf]).note


def test_few_patients_are_pointed_out() -> None:
    assert mean_interval([0.1, 0.2, 0.3, 0.4, 0.5]).note == "few patients"
    assert [few_patients(count) for count in (10, 11)] == ["few patients", ""]


@pytest.mark.parametrize(("count", "low", "high"), [(5, 1, 5), (9, 2, 8), (30, 10, 21)])
def test_a_median_lies_between_two_of_the_values(count: int, low: int, high: int) -> None:
    values = np.random.default_rng(5).permutation(np.arange(1.0, count + 1))
    assert median_interval(values) == Interval(low, high, few_patients(count))
