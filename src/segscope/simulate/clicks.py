"""Clicks that a patient annotator would make: where to point first, and where to correct. numpy and scipy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]


def interior_point(mask: Mask) -> tuple[float, float]:
    """The pixel of `mask` (row, column) farthest from everything outside it, the picture's border included.

    Returns:
        x, y in pixels, centre of the first pixel (0, 0). Ties go to the first in reading order.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        raise ValueError("interior_point needs a mask that is not empty")
    top, left = int(rows[0]), int(columns[0])
    part = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1], 1)
    y, x = np.unravel_index(np.argmax(ndimage.distance_transform_edt(part)), part.shape)
    return float(x - 1 + left), float(y - 1 + top)


def largest_part(mask: Mask) -> Mask:
    """The largest 4-connected part of `mask`; the first in reading order among equals."""
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    return labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))


def corrective_click(predicted: Mask, truth: Mask) -> tuple[float, float, bool]:
    """The next click on an answer: in the largest wrong part, at its most interior point.

    Args:
        predicted: (row, column) the current answer; all false asks for a first click.
        truth: (row, column) the reference.

    Returns:
        x, y in pixels, centre of the first pixel (0, 0), and whether the click is positive (truth was missed). Where
        nothing is wrong, the most interior point of the truth, positive.

    Example:
        >>> import numpy as np
        >>> truth = np.zeros((9, 9), bool)
        >>> truth[2:7, 2:7] = True
        >>> corrective_click(np.zeros_like(truth), truth)
        (4.0, 4.0, True)
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"masks differ in shape: {predicted.shape} and {truth.shape}")
    missed, surplus = truth & ~predicted, predicted & ~truth
    parts = [(largest_part(wrong), positive) for wrong, positive in ((missed, True), (surplus, False)) if wrong.any()]
    part, positive = max(parts, key=lambda item: int(item[0].sum())) if parts else (truth, True)
    return *interior_point(part), positive


def random_point(mask: Mask, rng: np.random.Generator) -> tuple[float, float]:
    """A uniformly drawn pixel (x, y) of `mask`, centre of the first pixel (0, 0)."""
    at = np.flatnonzero(mask)
    y, x = divmod(int(at[rng.integers(len(at))]), mask.shape[1])
    return float(x), float(y)
