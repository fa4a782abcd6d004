"""Overlap of two masks: counts of pixels or voxels, and volumes. Any number of axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segscope.arrays import Pixels
from segscope.errors import UsageError

Mask = NDArray[np.bool_]


def as_masks(predicted: Pixels, truth: Pixels) -> tuple[Mask, Mask]:
    """Both as bool arrays; everything that is not 0 is inside.

    Raises:
        UsageError: the shapes differ, or they are neither (row, column) nor (frame, row, column);
            a value is NaN.
    """
    predicted = np.asarray(predicted)
    truth = np.asarray(truth)
    if predicted.shape != truth.shape or predicted.ndim not in (2, 3):
        raise UsageError(
            "two masks must have one shape, (row, column) or (frame, row, column); got "
            f"{predicted.shape} and {truth.shape}"
        )
    for name, mask in (("predicted mask", predicted), ("truth", truth)):
        if mask.dtype.kind == "f" and np.isnan(mask).any():
            count = int(np.isnan(mask).sum())
            raise UsageError(
                f"the {name} has {count} values that are NaN, which are neither inside nor "
                "outside; replace them, or find out where they come from"
            )
    return predicted.astype(bool, copy=False), truth.astype(bool, copy=False)


def dice(predicted: Mask, truth: Mask) -> float:
    """2|P∩G| / (|P|+|G|), 0 to 1; NaN if both are empty."""
    return _ratio(2 * _count(predicted & truth), _count(predicted) + _count(truth))


def iou(predicted: Mask, truth: Mask) -> float:
    """|P∩G| / |P∪G|, 0 to 1; NaN if both are empty."""
    return _ratio(_count(predicted & truth), _count(predicted | truth))


def precision(predicted: Mask, truth: Mask) -> float:
    """Share of the prediction that is true, 0 to 1; NaN if the prediction is empty."""
    return _ratio(_count(predicted & truth), _count(predicted))


def recall(predicted: Mask, truth: Mask) -> float:
    """Share of the truth that was predicted, 0 to 1; NaN if the truth is empty."""
    return _ratio(_count(predicted & truth), _count(truth))


def volume(mask: Mask, spacing_mm: Sequence[float] | None = None) -> float:
    """Volume in mm³ (area in mm² for two axes), or number of voxels without spacing."""
    if spacing_mm is None:
        return float(_count(mask))
    return _count(mask) * math.prod(spacing_mm)


def volume_difference(
    predicted: Mask, truth: Mask, spacing_mm: Sequence[float] | None = None
) -> float:
    """Predicted minus true volume, in the unit of `volume`."""
    return volume(predicted, spacing_mm) - volume(truth, spacing_mm)


def relative_volume_difference(predicted: Mask, truth: Mask) -> float:
    """(|P|-|G|) / |G|, from -1; NaN if the truth is empty."""
    return _ratio(_count(predicted) - _count(truth), _count(truth))


def _count(mask: Mask) -> int:
    return int(np.count_nonzero(mask))


def _ratio(part: float, whole: float) -> float:
    if whole:
        return part / whole
    return math.nan
