"""Clicks of a careful annotator: the first click, and corrections. Uses numpy and scipy only.

The functions above the line are the bare rules, with pixel indices; those below it make prompts.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from segscope.prompts import Prompt
from segscope.simulate.annotation_target import AnnotationTarget, Rng
from segscope.simulate.regions import Mask, bounds, deepest, depth, parts

BAND = 0.25  # width of the band along an edge, relative to the greatest depth; at least 1 px


def interior_point(mask: Mask) -> tuple[float, float]:
    """The pixel of `mask` (row, column) farthest from everything outside it, the image's border
    included.

    Returns:
        x, y in pixels, centre of the first pixel (0, 0). Ties go to the first in reading order.
    """
    deep, row, column = deepest(mask)
    if not deep:
        raise ValueError("interior_point needs a mask that is not empty")
    return float(column), float(row)


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
        x, y in pixels, centre of the first pixel (0, 0), and whether the click is positive
        (truth was missed). Where nothing is wrong, the most interior point of the truth, positive.

        Example:
            >>> from collections.abc import Iterator

    import numpy as np
            >>> truth = np.zeros((9, 9), bool)
            >>> truth[2:7, 2:7] = True
            >>> corrective_click(np.zeros_like(truth), truth)
            (4.0, 4.0, True)
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"masks differ in shape: {predicted.shape} and {truth.shape}")
    missed = largest_part(truth & ~predicted)
    surplus = largest_part(predicted & ~truth)
    positive = int(missed.sum()) >= int(surplus.sum())
    part = surplus
    if positive:
        part = missed
    if not part.any():  # nothing is wrong
        part = truth
    return *interior_point(part), positive


# --- simulators: AnnotationTarget -> prompts -----------------------------------------------------


def rt(target: AnnotationTarget, _rng: Rng) -> list[Prompt]:
    """The deepest pixel of the deeper error, missed or surplus; never the same pixel twice."""
    missed, surplus = target.errors()
    clicked = target.clicked()
    deep, row, column = deepest(missed, clicked)
    # of equal depths the surplus counts, as in RITM
    other_deep, other_row, other_column = deepest(surplus, clicked, at_least=deep)
    if other_deep > 0:
        return [target.click(other_row, other_column, positive=False)]
    if deep > 0:
        return [target.click(row, column)]
    return []


def cc3d(target: AnnotationTarget, rng: Rng) -> list[Prompt]:
    """The deepest voxel of the largest 26-connected error in 3D, missed and surplus together."""
    wrong = target.truth
    if target.predicted is not None:
        wrong = target.truth ^ target.predicted
    whole = bounds(wrong)
    if whole is None:
        return []
    clicked = np.zeros_like(wrong)
    for frame in {prompt.frame for prompt in target.prompts}:
        for row, column in target.clicked(frame):
            clicked[frame, row, column] = True
    for window, part in parts(wrong[whole]):
        deep = np.where(clicked[whole][window], 0, depth(part))
        if deep.any():
            tied = np.argwhere(deep == deep.max())
            corner = [outer.start + inner.start for outer, inner in zip(whole, window, strict=True)]
            frame, row, column = tied[rng.integers(len(tied))] + corner
            return [target.click(row, column, target.truth[frame, row, column], frame)]
    return []


def center(target: AnnotationTarget, rng: Rng, *, most: int = 3) -> list[Prompt]:
    """The deepest pixels of the largest 8-connected errors, 1 to `most` of them."""
    clicks: list[tuple[int, Prompt]] = []  # with the area of their errors
    for wrong, positive in zip(target.errors(), (True, False), strict=True):
        clicks += _center_clicks(target, wrong, positive, most)
    clicks.sort(key=lambda item: -item[0])
    return [click for _, click in clicks[: rng.integers(1, most + 1)]]


def _center_clicks(
    target: AnnotationTarget, wrong: Mask, positive: bool, most: int
) -> Iterator[tuple[int, Prompt]]:
    """Area and click of each of the largest parts of an error."""
    clicked = target.clicked()
    for (rows, columns), part in parts(wrong, most):
        top = rows.start
        left = columns.start
        avoid = [(row - top, column - left) for row, column in clicked]
        deep, row, column = deepest(part, avoid)
        if deep > 0:
            yield int(part.sum()), target.click(row + top, column + left, positive)


def anywhere(target: AnnotationTarget, rng: Rng, *, most: int = 3) -> list[Prompt]:
    """1 to `most` pixels drawn from all errors."""
    missed, surplus = target.errors()
    return _draw_pixels(target, missed | surplus, rng, most)


def border(target: AnnotationTarget, rng: Rng, *, most: int = 3) -> list[Prompt]:
    """1 to `most` pixels drawn from a band along the inner edge of the errors."""
    missed, surplus = target.errors()
    band = np.zeros_like(missed)
    for wrong in (missed, surplus):
        deep = depth(wrong)
        band |= wrong & (deep <= max(1.0, BAND * float(deep.max())))
    return _draw_pixels(target, band, rng, most)


def _draw_pixels(target: AnnotationTarget, region: Mask, rng: Rng, most: int) -> list[Prompt]:
    """1 to `most` pixels of a region that were not clicked before."""
    region = region.copy()
    for row, column in target.clicked():
        region[row, column] = False
    pool = np.flatnonzero(region)
    count = min(int(rng.integers(1, most + 1)), len(pool))
    if not count:
        return []
    chosen = pool[rng.choice(len(pool), count, replace=False)]
    places = [divmod(int(index), region.shape[1]) for index in chosen]
    return [target.click(row, column, target.mask[row, column]) for row, column in places]
