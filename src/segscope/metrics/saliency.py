"""Measures for salient, camouflaged and other context-dependent objects, on masks or on maps of
values 0 to 1.

Each takes one image: `predicted` (row, column), bool or float 0 to 1, and `truth` (row, column)
bool. They agree with py_sod_metrics where that is sound. An empty truth gives NaN (a small false
alarm would otherwise score about 0.9), and a map that is 0 everywhere scores 0 where higher is
better.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segscope.arrays import Pixels
from segscope.errors import UsageError
from segscope.metrics.overlap import Mask

Map = NDArray[np.float64]
Counts = NDArray[np.int64]
CountMeasure = Callable[[Counts, Counts, int, int], Map]
"""Hits, false alarms, pixels of the truth and of the image to scores, one for each threshold."""

BETA2 = 0.3
_TINY = float(np.finfo(float).eps)


def as_map(predicted: Pixels, truth: Pixels) -> tuple[Map, Mask]:
    """A map as float64 and its truth as bool.

    Raises:
        UsageError: another shape, or values that are not 0 to 1.
    """
    values = np.asarray(predicted, np.float64)
    truth = np.asarray(truth).astype(bool, copy=False)
    if (values.shape, truth.ndim) != (truth.shape, 2) or not truth.size:
        raise UsageError(
            "a map and its truth must have one shape (row, column), got "
            f"{values.shape} and {truth.shape}"
        )
    check_map(values)
    return values, truth


def check_map(values: Pixels) -> None:
    """Raise UsageError unless all values are 0 to 1."""
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise UsageError(
            f"a map must have values 0 to 1, this one spans {values.min():.4g} to "
            f"{values.max():.4g}"
        )


def mae(predicted: Pixels, truth: Mask) -> float:
    """Mean absolute error, 0 to 1, lower is better."""
    values, truth = as_map(predicted, truth)
    if truth.any():
        return float(np.abs(values - truth).mean())
    return math.nan


def ber(predicted: Pixels, truth: Mask) -> float:
    """Balanced error rate of the map above 0.5, 0 to 1, lower is better; also NaN if the object
    fills the image.
    """
    values, truth = as_map(predicted, truth)
    if not truth.any() or truth.all():
        return math.nan
    inside = values > 0.5
    return 1 - (float(inside[truth].mean()) + float((~inside[~truth]).mean())) / 2


def s_measure(predicted: Pixels, truth: Mask) -> float:
    """Structure measure (Fan et al. 2017, arXiv:1708.00786): mean of the similarity of objects and
    that of quarters.
    """
    values, truth = as_map(predicted, truth)
    if not truth.any():
        return math.nan
    if truth.all() or not values.any():
        return float(values.mean())
    share = truth.mean()
    inside = _object_similarity(values[truth])
    outside = _object_similarity(1 - values[~truth])
    objects = share * inside + (1 - share) * outside
    return max(0.0, float(objects + _quarter_similarity(values, truth)) / 2)


def _object_similarity(values: Map) -> float:
    spread = 0.0
    if values.size > 1:
        spread = values.std(ddof=1)
    return float(2 * values.mean() / (values.mean() ** 2 + 1 + spread + _TINY))


def _quarter_similarity(values: Map, truth: Mask) -> float:
    """Structural similarity of the four quarters around the centre of the truth, weighted with
    their area.
    """
    y, x = (int(place) + 1 for place in np.argwhere(truth).mean(axis=0).round())
    total = 0.0
    for rows, columns in product((slice(y), slice(y, None)), (slice(x), slice(x, None))):
        quarter = truth[rows, columns]
        if quarter.size:  # a centre in the last row or column leaves empty quarters
            total += _similarity(values[rows, columns], quarter) * quarter.size
    return total / truth.size


def _similarity(values: Map, truth: Mask) -> float:
    a = values.mean()
    b = truth.mean()
    count = max(values.size - 1, 1)
    spread = (np.sum((values - a) ** 2) + np.sum((truth - b) ** 2)) / count
    above = 4 * a * b * np.sum((values - a) * (truth - b)) / count
    below = (a**2 + b**2) * spread
    if above == 0:
        return float(below == 0)
    return float(above / (below + _TINY))


def e_measure(predicted: Pixels, truth: Mask) -> float:
    """Enhanced alignment measure (Fan et al. 2018, arXiv:1805.10421) at twice the map's mean.

    The sum over N pixels is divided by N - 1 as in the authors' code, so that a perfect mask scores
    N/(N-1).
    """
    return _adaptive(predicted, truth, _alignment)


def e_curve(predicted: Pixels, truth: Mask) -> Map:
    """E-measure of the map at or above 0, 1, ... 255 of 255, (256,); its mean and maximum are
    common.
    """
    return _curve(predicted, truth, _alignment)


def f_measure(predicted: Pixels, truth: Mask) -> float:
    """F with β² = 0.3 (Achanta et al. 2009) at twice the map's mean, 0 to 1."""
    return _adaptive(predicted, truth, _f)


def f_curve(predicted: Pixels, truth: Mask) -> Map:
    """F with β² = 0.3 of the map at or above 0, 1, ... 255 of 255, (256,)."""
    return _curve(predicted, truth, _f)


def weighted_f(predicted: Pixels, truth: Mask) -> float:
    """F with β² = 1 of errors weighted by their location (Margolin et al. 2014), 0 to 1."""
    values, truth = as_map(predicted, truth)
    if not truth.any():
        return math.nan
    if not values.any():
        return 0.0
    error = np.abs(values - truth)
    distance, (rows, columns) = ndimage.distance_transform_edt(~truth, return_indices=True)
    kernel = np.exp(-(np.arange(-3, 4) ** 2) / (2 * 5.0**2))
    kernel /= kernel.sum()
    smooth = error[rows, columns]
    for axis in (0, 1):
        smooth = ndimage.convolve1d(smooth, kernel, axis, mode="constant")
    missed = np.minimum(error, smooth)[truth]
    surplus = (error * (2 - 0.5 ** (distance / 5)))[~truth].sum()
    hit = truth.sum() - missed.sum()
    precision = hit / (hit + surplus + _TINY)
    recall = 1 - missed.mean()
    return float(2 * precision * recall / (precision + recall + _TINY))


def _adaptive(predicted: Pixels, truth: Mask, measure: CountMeasure) -> float:
    values, truth = as_map(predicted, truth)
    if not truth.any():
        return math.nan
    if not values.any():
        return 0.0
    inside = values >= min(2 * values.mean(), 1)
    hits = np.array([np.count_nonzero(inside & truth)])
    alarms = np.array([np.count_nonzero(inside & ~truth)])
    return float(measure(hits, alarms, int(truth.sum()), truth.size)[0])


def _curve(predicted: Pixels, truth: Mask, measure: CountMeasure) -> Map:
    values, truth = as_map(predicted, truth)
    if not truth.any():
        return np.full(256, np.nan)
    if not values.any():
        return np.zeros(256)
    levels = (values * 255).astype(np.uint8)
    hits = _count_at_or_above(levels[truth])
    alarms = _count_at_or_above(levels[~truth])
    return measure(hits, alarms, int(truth.sum()), truth.size)


def _count_at_or_above(levels: NDArray[np.uint8]) -> Counts:
    """Number of pixels at or above each of the 256 levels."""
    counts = np.bincount(levels, minlength=256)
    return counts[::-1].cumsum()[::-1]


def _f(hits: Counts, alarms: Counts, positives: int, _size: int) -> Map:
    return (1 + BETA2) * hits / (BETA2 * positives + hits + alarms)


def _alignment(hits: Counts, alarms: Counts, positives: int, size: int) -> Map:
    predicted = (hits + alarms) / size
    true = positives / size
    if positives == size:
        return predicted * size / max(size - 1, 1)
    misses = positives - hits
    kinds = (
        (hits, 1 - predicted, 1 - true),
        (alarms, 1 - predicted, -true),
        (misses, -predicted, 1 - true),
        (size - hits - alarms - misses, -predicted, -true),
    )
    total = np.zeros(hits.shape)
    for count, a, b in kinds:
        total += count * (2 * a * b / (a**2 + b**2 + _TINY) + 1) ** 2 / 4
    return total / max(size - 1, 1)
