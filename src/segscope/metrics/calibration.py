"""Calibration: how well a network predicts its own IoU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from segscope.errors import UsageError


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions from `low` to `high`: their number, their mean, and the mean of the true values
    (NaN without any).
    """

    low: float
    high: float
    n: int
    predicted: float
    true: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Predicted and true IoU.

    Attributes:
        n: pairs in which both are numbers.
        pearson, spearman: correlations; NaN for fewer than 3 pairs or where one side does not vary.
        mae: mean absolute error.
        bias: mean of predicted minus true; positive for an overconfident network.
        ece: mean distance of bins from the diagonal, weighted by their numbers (expected
            calibration error).
        bins: the reliability curve.
    """

    n: int
    pearson: float
    spearman: float
    mae: float
    bias: float
    ece: float
    bins: tuple[Bin, ...]


def calibration(predicted: ArrayLike, true: ArrayLike, *, bins: int = 10) -> Calibration:
    """Compare predicted and true IoU, both 0 to 1, one pair per mask; pairs with a NaN are left
    out.

    Raises:
        UsageError: the numbers of values differ, or there is no bin.
    """
    guesses = np.asarray(predicted, float).ravel()
    truths = np.asarray(true, float).ravel()
    if guesses.shape != truths.shape or bins < 1:
        raise UsageError(
            "expected as many predictions as true values, and at least one bin; got "
            f"{guesses.size}, {truths.size} and {bins}"
        )
    known = ~(np.isnan(guesses) | np.isnan(truths))
    guesses = guesses[known]
    truths = truths[known]
    rows = _fill_bins(guesses, truths, bins)
    pearson = np.nan
    spearman = np.nan
    if len(guesses) > 2 and min(np.ptp(guesses), np.ptp(truths)) > 1e-9:
        pearson = float(stats.pearsonr(guesses, truths)[0])
        spearman = float(stats.spearmanr(guesses, truths)[0])
    ece = np.nan
    if len(guesses):
        gaps = sum(row.n * abs(row.predicted - row.true) for row in rows if row.n)
        ece = gaps / len(guesses)
    return Calibration(
        n=len(guesses),
        pearson=pearson,
        spearman=spearman,
        mae=_mean(np.abs(guesses - truths)),
        bias=_mean(guesses - truths),
        ece=ece,
        bins=rows,
    )


def _fill_bins(
    guesses: NDArray[np.float64], truths: NDArray[np.float64], count: int
) -> tuple[Bin, ...]:
    # networks predict a little above 1 and below 0; these belong to the outer bins
    number = np.clip((guesses * count).astype(int), 0, count - 1)
    bins = []
    for i in range(count):
        inside = number == i
        low = i / count
        high = (i + 1) / count
        n = int(inside.sum())
        bins.append(Bin(low, high, n, _mean(guesses[inside]), _mean(truths[inside])))
    return tuple(bins)


def _mean(values: NDArray[np.float64]) -> float:
    if len(values):
        return float(values.mean())
    return np.nan
