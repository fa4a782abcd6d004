"""Clicks that a patient annotator would make: where to point first, and where to correct. numpy and
scipy only.

The functions above the line are the bare rules, with pixel indices; those below it make prompts.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from segscope.prompts import Prompt
from segscope.simulate.annotation_target import Rng, Target
from segscope.simulate.regions import Mask, bounds, deepest, depth, parts

BAND = 0.25  # width of the band along an edge, as a share of the deepest place; at least one pixel


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
        x, y in pixels, centre of the first pixel (0, 0), and whether the click is positive (truth
        was missed). Where nothing is wrong, the most interior point of the truth, positive.

    Example:
        >>> import numpy as np
        >>> truth = np.zeros((9, 9), bool)
        >>> truth[2:7, 2:7] = True
        >>> corrective_click(np.zeros_like(truth), truth)
        (4.0, 4.0, True)
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"masks differ in shape: {predicted.shape} and {truth.shape}")
    missed = truth & ~predicted
    surplus = predicted & ~truth
    parts = [
        (largest_part(wrong), positive)
        for wrong, positive in ((missed, True), (surplus, False))
        if wrong.any()
    ]
    part, positive = max(parts, key=lambda item: int(item[0].sum())) if parts else (truth, True)
    return *interior_point(part), positive


def random_point(mask: Mask, rng: np.random.Generator) -> tuple[float, float]:
    """A uniformly drawn pixel (x, y) of `mask`, centre of the first pixel (0, 0)."""
    at = np.flatnonzero(mask)
    y, x = divmod(int(at[rng.integers(len(at))]), mask.shape[1])
    return float(x), float(y)


# --- simulators: Target -> prompts ---------------------------------------------------------------


def rt(target: Target, _rng: Rng) -> list[Prompt]:
    """Where the deeper of the two errors, missed or surplus, is deepest; never the same pixel
    twice.
    """
    missed, surplus = target.errors()
    clicked = target.clicked()
    deep, row, column = deepest(missed, clicked)
    positive = True
    other = deepest(surplus, clicked, at_least=deep)  # an equal depth counts as surplus, as in RITM
    if other[0] > 0:
        (deep, row, column) = other
        positive = False
    if deep > 0:
        return [target.click(row, column, positive)]
    return []


def cc3d(target: Target, rng: Rng) -> list[Prompt]:
    """The deepest voxel of the largest 26-connected error in 3D, missed and surplus taken together."""
    if target.found is None:
        wrong = target.truth
    else:
        wrong = target.truth ^ target.found
    whole = bounds(wrong)
    if whole is None:
        return []
    clicked = np.zeros_like(wrong)
    for frame in {prompt.frame for prompt in target.given}:
        for row, column in target.clicked(frame):
            clicked[frame, row, column] = True
    for window, part in parts(wrong[whole]):
        z, y, x = (outer.start + inner.start for outer, inner in zip(whole, window, strict=True))
        deep = np.where(clicked[whole][window], 0, depth(part))
        if deep.any():
            tied = np.argwhere(deep == deep.max())
            frame, row, column = tied[rng.integers(len(tied))] + (z, y, x)
            return [target.click(row, column, target.truth[frame, row, column], frame)]
    return []


def center(target: Target, rng: Rng, *, most: int = 3) -> list[Prompt]:
    """The deepest pixels of the largest 8-connected errors, 1 to `most` of them."""
    clicked = target.clicked()
    found: list[tuple[int, Prompt]] = []
    for wrong, positive in zip(target.errors(), (True, False), strict=True):
        for (rows, columns), part in parts(wrong, most):
            y = rows.start
            x = columns.start
            deep, row, column = deepest(part, [(row - y, column - x) for row, column in clicked])
            if deep > 0:
                found.append((int(part.sum()), target.click(row + y, column + x, positive)))
    found.sort(key=lambda item: -item[0])
    return [click for _, click in found[: rng.integers(1, most + 1)]]


def anywhere(target: Target, rng: Rng, *, most: int = 3) -> list[Prompt]:
    """1 to `most` pixels drawn from all errors."""
    missed, surplus = target.errors()
    return _drawn(target, missed | surplus, rng, most)


def border(target: Target, rng: Rng, *, most: int = 3) -> list[Prompt]:
    """1 to `most` pixels drawn from a band along the inner edge of the errors."""
    missed, surplus = target.errors()
    band = np.zeros_like(missed)
    for wrong in (missed, surplus):
        deep = depth(wrong)
        band |= wrong & (deep <= max(1.0, BAND * float(deep.max())))
    return _drawn(target, band, rng, most)


def _drawn(target: Target, region: Mask, rng: Rng, most: int) -> list[Prompt]:
    """1 to `most` pixels of a region that were not clicked before."""
    region = region.copy()
    for row, column in target.clicked():
        region[row, column] = False
    pool = np.flatnonzero(region)
    count = min(int(rng.integers(1, most + 1)), len(pool))
    if count:
        at = pool[rng.choice(len(pool), count, replace=False)]
    else:
        at = pool[:0]
    places = [divmod(int(index), region.shape[1]) for index in at]
    return [target.click(row, column, target.mask[row, column]) for row, column in places]
