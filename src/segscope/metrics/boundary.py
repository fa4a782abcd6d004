"""Agreement of outlines: boundary IoU, J&F of videos, and the IoU of the EndoVis challenges."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segscope.errors import UsageError
from segscope.metrics.overlap import Mask, as_masks, iou
from segscope.metrics.surface import nearest


@dataclass(frozen=True, slots=True)
class RegionContour:
    """J (overlap of regions) and F (agreement of contours) of one object in one video, means over
    its frames.
    """

    j: float
    f: float

    @property
    def mean(self) -> float:
        """J&F."""
        return (self.j + self.f) / 2


def region_contour(found: Mask, truth: Mask, *, skip_ends: bool = False) -> RegionContour:
    """J and F of one object as in SAM 2's evaluation of videos (DAVIS, SA-V).

    On a frame where both masks are empty J = F = 1, where one is empty J = F = 0
    (`segscope.metrics.score` gives 0 to a video in which nothing was found at all). Means over
    objects, then over videos, give the figures that are published
    (`segscope.evaluate.statistics.nested_mean`).

    Args:
        found, truth: (frame, row, column), or (row, column) for one image.
        skip_ends: leave out the first and the last frame, as is done for DAVIS and SA-V.

    Raises:
        UsageError: no frame is left.
    """
    found, truth = (mask.reshape(-1, *mask.shape[-2:]) for mask in as_masks(found, truth))
    if skip_ends:
        frames = range(1, len(truth) - 1)
    else:
        frames = range(len(truth))
    if not frames:
        raise UsageError(
            f"J and F need a frame; of {len(truth)} none is left without the first and the last"
        )
    overlaps = [
        iou(found[i], truth[i]) if found[i].any() or truth[i].any() else 1.0 for i in frames
    ]
    contours = [contour_f(found[i], truth[i]) for i in frames]
    return RegionContour(float(np.mean(overlaps)), float(np.mean(contours)))


def contour_f(found: Mask, truth: Mask, *, radius: int | None = None) -> float:
    """F of DAVIS (Perazzi et al. 2016): precision and recall of 1-pixel contours, matched within a
    disc.

    Args:
        found, truth: (row, column) bool.
        radius: of the disc in pixels; 0.8 % of the diagonal, rounded up, unless given.

    Returns:
        0 to 1; 1 when neither mask has a contour (both empty, or both fill the frame), 0 when one
        has none.
    """
    found, truth = as_masks(found, truth)
    if radius is None:
        radius = math.ceil(0.008 * math.hypot(*truth.shape))
    found = contour(found)
    truth = contour(truth)
    if not found.any() or not truth.any():
        return float(found.any() == truth.any())
    precision = float(np.mean(nearest(found, truth, (1, 1)) <= radius))
    recall = float(np.mean(nearest(truth, found, (1, 1)) <= radius))
    if precision + recall:
        return 2 * precision * recall / (precision + recall)
    return 0.0


def contour(mask: Mask) -> Mask:
    """Pixels that differ from their right, lower or lower right neighbour; the frame's border is no
    contour.
    """
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    return (mask != padded[:-1, 1:]) | (mask != padded[1:, :-1]) | (mask != padded[1:, 1:])


def boundary_iou(found: Mask, truth: Mask, *, width: float = 0.02) -> float:
    """IoU of the bands inside the outlines (Cheng et al. 2021, arXiv:2103.16562).

    A band holds the pixels of a mask that leave it within d steps to the eight neighbours, d =
    `width` of the frame's diagonal, rounded, at least 1; beyond the frame is outside. Bands are
    made frame by frame and counted together.

    Returns:
        0 to 1; NaN when both masks are empty.
    """
    found, truth = as_masks(found, truth)
    steps = max(1, round(width * math.hypot(*truth.shape[-2:])))
    return iou(_band(found, steps), _band(truth, steps))


def _band(mask: Mask, steps: int) -> Mask:
    size = (1,) * (mask.ndim - 2) + (2 * steps + 1,) * 2
    return mask & ~ndimage.minimum_filter(mask, size, mode="constant", cval=0)


def endovis_iou(found: NDArray[Any], truth: NDArray[Any]) -> float:
    """IoU of the EndoVis challenges: mean over the objects of a frame's truth, then over frames
    that have any.

    Args:
        found, truth: label maps (frame, row, column) or (row, column), 0 = background.

    Returns:
        0 to 1; NaN when the truth is empty on all frames.
    """
    as_masks(found, truth)
    frames = zip(*(labels.reshape(-1, *truth.shape[-2:]) for labels in (found, truth)), strict=True)
    return _mean(
        _mean(iou(one == label, two == label) for label in np.unique(two[two != 0]))
        for one, two in frames
        if two.any()
    )


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    if values:
        return float(np.mean(values))
    return math.nan
