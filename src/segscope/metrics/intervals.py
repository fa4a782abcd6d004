"""95 % intervals of means and medians over patients. Nothing is drawn: the same values have the
same interval wherever they are reported.

Few patients are the rule, so the percentile bootstrap, which is too narrow below about thirty, does
not serve. A mean has Student's interval. Scores from 0 to 1 are skewed, and with few patients none
of them may be a failure although one patient in ten is; so the variance is widened as if a fifth of
a patient had the worst possible score (for the lower limit) or the best (for the upper). A median
has the interval between two of the ordered values, which assumes nothing of their distribution.
`benchmarks/intervals.py` measures how often these intervals contain the truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[np.float64]
Bounds = tuple[float, float]

LEAST_PATIENTS = 5
"""Fewer patients have no interval."""

FEW_PATIENTS = 10
"""So many patients, or fewer, are pointed out beside an interval."""

BOUND_WEIGHT = 0.2
"""Weight of the patient at the bound of the scale, in patients: the smallest tenth with which, for
5 to 30 patients, 88 % of intervals contain the mean of Dice with one failure in ten.
"""

TAIL = 0.025


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval.

    Attributes:
        low, high: limits; NaN where there is no interval.
        note: why there is none, or what to know of it; else "".
    """

    low: float
    high: float
    note: str = ""

    @property
    def exists(self) -> bool:
        return not math.isnan(self.low)

    def contains(self, value: float) -> bool:
        """Whether a value is in the interval; false where there is no interval."""
        return self.low <= value <= self.high


def mean_interval(units: ArrayLike, bounds: Bounds | None = None) -> Interval:
    """Interval of a mean.

    Args:
        units: one value a patient, none NaN.
        bounds: smallest and largest value that is possible, where both are finite.
    """
    return mean_interval_of_sets([units], bounds)


def mean_interval_of_sets(sets: Sequence[ArrayLike], bounds: Bounds | None = None) -> Interval:
    """Interval of the mean of the means of independent sets.

    Args:
        sets: one value a patient, of each set.
        bounds: as for `mean_interval`.
    """
    values = [np.asarray(units, np.float64) for units in sets]
    patients = sum(map(len, values))
    if patients < LEAST_PATIENTS:
        return _no_interval(f"too few patients for an interval: {patients} of {LEAST_PATIENTS}")
    if min(map(len, values)) < 2:
        return _no_interval("a data set with a value of one patient only has no interval")
    if not all(np.isfinite(each).all() for each in values):
        return _no_interval("values that are not finite have no interval")
    mean = float(np.mean([each.mean() for each in values]))
    lowest, highest = bounds or (-math.inf, math.inf)
    low = mean - _half_width(values, lowest)
    high = mean + _half_width(values, highest)
    return Interval(max(low, lowest), min(high, highest), few_patients(patients))


def median_interval(units: ArrayLike) -> Interval:
    """Interval of a median, between two of the ordered values; units as for `mean_interval`."""
    ordered = np.sort(np.asarray(units, np.float64))
    count = len(ordered)
    if count < LEAST_PATIENTS:
        return _no_interval(f"too few patients for an interval: {count} of {LEAST_PATIENTS}")
    # five patients: from the smallest to the largest, 93.75 %
    outside = max(int(stats.binom.ppf(TAIL, count, 0.5)), 1)
    low = float(ordered[outside - 1])
    high = float(ordered[-outside])
    return Interval(low, high, few_patients(count))


def few_patients(count: int) -> str:
    """What to know of a figure over so many patients; "" where they are enough."""
    if count <= FEW_PATIENTS:
        return "few patients"
    return ""


def _half_width(values: Sequence[Array], bound: float) -> float:
    """Distance of a limit from the mean of means: Student's, with Welch's degrees of freedom."""
    variances = np.array([_variance_of_mean(each, bound) for each in values])
    freedoms = np.array([len(each) - 1 for each in values])
    total = float(variances.sum())
    if not total:
        return 0.0
    freedom = total**2 / float((variances**2 / freedoms).sum())
    return float(stats.t.ppf(1 - TAIL, freedom)) * math.sqrt(total) / len(values)


def _variance_of_mean(values: Array, bound: float) -> float:
    variance = float(values.var(ddof=1))
    if math.isfinite(bound):
        distance = float(values.mean()) - bound
        variance += BOUND_WEIGHT * distance**2 / len(values)
    return variance / len(values)


def _no_interval(note: str) -> Interval:
    return Interval(math.nan, math.nan, note)
