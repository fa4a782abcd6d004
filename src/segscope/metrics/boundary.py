"""Agreement of outlines: boundary IoU, and J&F of videos."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
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


def region_contour(predicted: Mask, truth: Mask, *, skip_ends: bool = False) -> RegionContour:
    """J and F of one object as in SAM 2's evaluation of videos (DAVIS, SA-V).

    Frames count from the first one on which either mask has the object. After it, J = F = 1 on a
    frame where both masks are empty, and J = F = 0 where one is (`segscope.metrics.score` gives 0
    to a video without any prediction). Means over objects, then
    over videos, are the figures that are published (`segscope.evaluate.statistics.nested_mean`).

    Args:
        predicted, truth: (frame, row, column), or (row, column) for one image.
        skip_ends: leave out the first and the last frame, as is done for DAVIS and SA-V.

    Raises:
        UsageError: no frame is left.
    """
    predicted, truth = (mask.reshape(-1, *mask.shape[-2:]) for mask in as_masks(predicted, truth))
    count = len(truth)
    if skip_ends:
        predicted = predicted[1:-1]
        truth = truth[1:-1]
    present = (predicted | truth).any((1, 2))
    if present.any():
        first = int(present.argmax())
        predicted = predicted[first:]
        truth = truth[first:]
    if not len(truth):
        raise UsageError(
            f"J and F need at least one frame; of {count} none is left without the first and the "
            "last"
        )
    overlaps = []
    contours = []
    for one, other in zip(predicted, truth, strict=True):
        overlaps.append(_region_j(one, other))
        contours.append(contour_f(one, other))
    return RegionContour(float(np.mean(overlaps)), float(np.mean(contours)))


def _region_j(predicted: Mask, truth: Mask) -> float:
    """IoU of one frame; 1 where both masks are empty."""
    if not predicted.any() and not truth.any():
        return 1.0
    return iou(predicted, truth)


def contour_f(predicted: Mask, truth: Mask, *, radius: int | None = None) -> float:
    """F of DAVIS (Perazzi et al. 2016): precision and recall of contours of 1 pixel, matched within
    a disc.

    Args:
        predicted, truth: (row, column) bool.
        radius: of the disc in pixels; by default 0.8 % of the diagonal, rounded up.

    Returns:
        0 to 1; 1 if neither mask has a contour (both empty, or both fill the frame), 0 if only one
        has none.
    """
    predicted, truth = as_masks(predicted, truth)
    if radius is None:
        radius = math.ceil(0.008 * math.hypot(*truth.shape))
    predicted = contour(predicted)
    truth = contour(truth)
    if not predicted.any() or not truth.any():
        return float(predicted.any() == truth.any())
    precision = float(np.mean(nearest(predicted, truth, (1, 1)) <= radius))
    recall = float(np.mean(nearest(truth, predicted, (1, 1)) <= radius))
    if precision + recall:
        return 2 * precision * recall / (precision + recall)
    return 0.0


def contour(mask: Mask) -> Mask:
    """Pixels that differ from their right, lower or lower right neighbour; the border of the frame
    is not a contour.
    """
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    return (mask != padded[:-1, 1:]) | (mask != padded[1:, :-1]) | (mask != padded[1:, 1:])


def boundary_iou(predicted: Mask, truth: Mask, *, width: float = 0.02) -> float:
    """IoU of the bands inside the outlines (Cheng et al. 2021, arXiv:2103.16562).

    A band holds the pixels of a mask that leave it within d steps to the eight neighbours, d =
    `width` of the frame's diagonal, rounded, at least 1; everything beyond the frame is outside.
    Bands are computed frame by frame and counted together.

    Returns:
        0 to 1; NaN when both masks are empty.
    """
    predicted, truth = as_masks(predicted, truth)
    steps = max(1, round(width * math.hypot(*truth.shape[-2:])))
    return iou(_band(predicted, steps), _band(truth, steps))


def _band(mask: Mask, steps: int) -> Mask:
    size = (1,) * (mask.ndim - 2) + (2 * steps + 1,) * 2
    return mask & ~ndimage.minimum_filter(mask, size, mode="constant", cval=0)
