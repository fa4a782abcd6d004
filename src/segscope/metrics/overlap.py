"""How much two masks share: counts of pixels or voxels, and volumes. Any number of axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import UsageError

Mask = NDArray[np.bool_]


def as_masks(found: NDArray[Any], truth: NDArray[Any]) -> tuple[Mask, Mask]:
    """Both as bool arrays; everything that is not 0 is inside.

    Raises:
        UsageError: the shapes differ, or they are neither (row, column) nor (frame, row, column).
    """
    found = np.asarray(found)
    truth = np.asarray(truth)
    if found.shape != truth.shape or found.ndim not in (2, 3):
        raise UsageError(
            f"two masks of one shape (row, column) or (frame, row, column) are compared, got {found.shape} "
            f"and {truth.shape}"
        )
    return found.astype(bool, copy=False), truth.astype(bool, copy=False)


def dice(found: Mask, truth: Mask) -> float:
    """2|P∩G| / (|P|+|G|), 0 to 1; NaN when both are empty."""
    return _ratio(2 * _count(found & truth), _count(found) + _count(truth))


def iou(found: Mask, truth: Mask) -> float:
    """|P∩G| / |P∪G|, 0 to 1; NaN when both are empty."""
    return _ratio(_count(found & truth), _count(found | truth))


def precision(found: Mask, truth: Mask) -> float:
    """Part of what was found that is true, 0 to 1; NaN when nothing was found."""
    return _ratio(_count(found & truth), _count(found))


def recall(found: Mask, truth: Mask) -> float:
    """Part of the truth that was found, 0 to 1; NaN when the truth is empty."""
    return _ratio(_count(found & truth), _count(truth))


def volume(mask: Mask, spacing_mm: Sequence[float] | None = None) -> float:
    """Volume in mm³ (area in mm² for two axes), or number of voxels without spacing."""
    return _count(mask) * (math.prod(spacing_mm) if spacing_mm is not None else 1.0)


def volume_difference(found: Mask, truth: Mask, spacing_mm: Sequence[float] | None = None) -> float:
    """Volume found less true volume, in the unit of `volume`; positive when too much was found."""
    return volume(found, spacing_mm) - volume(truth, spacing_mm)


def relative_volume_difference(found: Mask, truth: Mask) -> float:
    """(|P|-|G|) / |G|, from -1; NaN when the truth is empty."""
    return _ratio(_count(found) - _count(truth), _count(truth))


def _count(mask: Mask) -> int:
    return int(np.count_nonzero(mask))


def _ratio(part: float, whole: float) -> float:
    if whole:
        return part / whole
    return math.nan
