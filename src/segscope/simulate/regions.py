"""Parts and depths of masks, (row, column) or (z, row, column), and smooth random fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
Window = tuple[slice, ...]


def bounds(mask: Mask) -> Window | None:
    """The tight window of a mask of any dimension; None for an empty one."""
    window = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        places = np.flatnonzero(mask.any(axis=others))
        if not len(places):
            return None
        window.append(slice(int(places[0]), int(places[-1]) + 1))
    return tuple(window)


def parts(mask: Mask, most: int | None = None) -> Iterator[tuple[Window, Mask]]:
    """Connected parts, corners included (8- or 26-connected), largest first: each a window and its
    mask in it.
    """
    labels, _ = ndimage.label(mask, np.ones((3,) * mask.ndim))
    windows = ndimage.find_objects(labels)
    sizes = np.bincount(labels.ravel())[1:]
    for index in np.argsort(-sizes, kind="stable")[:most]:
        yield windows[index], labels[windows[index]] == index + 1


def depth(mask: Mask) -> NDArray[np.float64]:
    """Distance in pixels of each pixel of a mask to the nearest one outside; beyond the frame's
    edge is outside.
    """
    deep = np.zeros(mask.shape)
    window = bounds(mask)
    if window is not None:
        inner = (slice(1, -1),) * mask.ndim
        deep[window] = ndimage.distance_transform_edt(np.pad(mask[window], 1))[inner]
    return deep


def deepest(
    mask: Mask, avoid: Iterable[tuple[int, int]] = (), at_least: float = 0.0
) -> tuple[float, int, int]:
    """Depth, row and column of the deepest pixel of a mask (row, column), except those to avoid.

    Ties go to the first in reading order. The depth is 0 if no pixel is left, or none reaches
    `at_least` (which may save the computation).
    """
    window = bounds(mask)
    if window is None:
        return 0.0, 0, 0
    short_side = min(side.stop - side.start for side in window)
    if (short_side + 1) / 2 < at_least:
        return 0.0, 0, 0
    top = window[0].start
    left = window[1].start
    deep = ndimage.distance_transform_edt(np.pad(mask[window], 1))
    for row, column in avoid:
        row = row - top + 1
        column = column - left + 1
        if 0 <= row < deep.shape[0] and 0 <= column < deep.shape[1]:
            deep[row, column] = 0
    row, column = divmod(int(np.argmax(deep)), deep.shape[1])
    value = float(deep[row, column])
    if value >= at_least:
        return value, row - 1 + top, column - 1 + left
    return 0.0, 0, 0


def _blend(length: int, knots: int) -> NDArray[np.float64]:
    """Weights (length, knots) that spread values at knots smoothly over a line of pixels."""
    places = np.linspace(0, knots - 1, length)
    left = np.minimum(places.astype(int), knots - 2)
    share = places - left
    share = share * share * (3 - 2 * share)
    weights = np.zeros((length, knots))
    weights[np.arange(length), left] = 1 - share
    weights[np.arange(length), left + 1] = share
    return weights


def smooth(rng: np.random.Generator, size_hw: tuple[int, int], cells: float) -> NDArray[np.float64]:
    """A smooth random field (row, column) from -1 to 1 with about `cells` bumps along the longer
    side.
    """
    knots = [2 + int(np.ceil(cells * side / max(size_hw))) for side in size_hw]
    rows, columns = (_blend(side, count) for side, count in zip(size_hw, knots, strict=True))
    return rows @ rng.uniform(-1, 1, knots) @ columns.T
