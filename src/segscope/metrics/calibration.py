"""Whether a network's prediction of its own IoU can be believed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from segscope.errors import UsageError


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions from `low` up to `high`: how many, their mean, and the mean of the true values
    (NaN when none).
    """

    low: float
    high: float
    n: int
    predicted: float
    true: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Predicted against true IoU.

    Attributes:
        n: pairs in which both are numbers.
        pearson, spearman: correlations; NaN for fewer than 3 pairs or where one side does not vary.
        mae: mean absolute error.
        bias: mean of predicted less true; positive for a network that thinks too well of itself.
        ece: mean distance of bins from the diagonal, weighted with their numbers (expected
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
    """Compares predicted with true IoU, both 0 to 1, one pair a mask; pairs with a NaN are left
    out.

    Raises:
        UsageError: the numbers of values differ, or no bin is wanted.
    """
    guesses = np.asarray(predicted, float).ravel()
    truths = np.asarray(true, float).ravel()
    if guesses.shape != truths.shape or bins < 1:
        raise UsageError(
            f"as many predictions as true values and a bin, got {guesses.size}, {truths.size} and {bins}"
        )
    known = ~(np.isnan(guesses) | np.isnan(truths))
    guesses = guesses[known]
    truths = truths[known]
    # networks predict a little above 1 and below 0; these belong to the outer bins
    number = np.clip((guesses * bins).astype(int), 0, bins - 1)
    rows = tuple(
        Bin(
            i / bins,
            (i + 1) / bins,
            int((number == i).sum()),
            _mean(guesses[number == i]),
            _mean(truths[number == i]),
        )
        for i in range(bins)
    )
    varied = len(guesses) > 2 and min(np.ptp(guesses), np.ptp(truths)) > 1e-9
    gaps = sum(row.n * abs(row.predicted - row.true) for row in rows if row.n)
    return Calibration(
        n=len(guesses),
        pearson=float(stats.pearsonr(guesses, truths)[0]) if varied else np.nan,
        spearman=float(stats.spearmanr(guesses, truths)[0]) if varied else np.nan,
        mae=_mean(np.abs(guesses - truths)),
        bias=_mean(guesses - truths),
        ece=gaps / len(guesses) if len(guesses) else np.nan,
        bins=rows,
    )


def _mean(values: NDArray[np.float64]) -> float:
    if len(values):
        return float(values.mean())
    return np.nan
