"""Random prompts of SAM-Med2D: which objects, how far a box moves, where clicks fall."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segscope.simulate.regions import parts

Rng = np.random.Generator
Mask = NDArray[np.bool_]

MOST_SHIFT = 5
SHARE = 0.5
"""A box moves by at most this many pixels, and this share of its shorter side."""


def draw_objects(objects: int, count: int, rng: Rng) -> list[int]:
    """`count` objects with replacement; each once for a count of 0."""
    if count:
        return rng.integers(objects, size=count).tolist()
    return list(range(objects))


def draw_box(mask: Mask, rng: Rng | None, *, largest: bool) -> tuple[float, float, float, float]:
    """Box of a mask (row, column), moved as a whole.

    Args:
        mask: with at least one pixel.
        rng: None does not move it.
        largest: box of the largest 8-connected part, else of the whole mask.
    """
    x0, y0, x1, y1 = _find_box(mask, largest=largest)
    reach = min(MOST_SHIFT, int(SHARE * min(x1 - x0, y1 - y0)))
    dx = 0
    dy = 0
    if rng is not None and reach:
        dx, dy = rng.integers(-reach, reach, 2).tolist()
    return float(x0 + dx), float(y0 + dy), float(x1 + dx), float(y1 + dy)


def _find_box(mask: Mask, *, largest: bool) -> tuple[int, int, int, int]:
    if largest:
        rows, columns = next(parts(mask, 1))[0]
        return columns.start, rows.start, columns.stop, rows.stop
    down = np.flatnonzero(mask.any(1))
    across = np.flatnonzero(mask.any(0))
    return int(across[0]), int(down[0]), int(across[-1]) + 1, int(down[-1]) + 1


def draw_click(mask: Mask, rng: Rng) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """x, y (1, 2) and label (1,) of a click: on the object, or off it (0) where there is none."""
    present = bool(mask.any())
    region = mask
    if not present:
        region = ~mask
    return _draw_points(region, 1, rng), np.array([int(present)])


def draw_corrections(
    truth: Mask, predicted: Mask, count: int, rng: Rng
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Clicks anywhere in the errors, with replacement.

    Returns:
        x, y (count, 2), and labels (count,): 1 where the object was missed, 0 where it was
        predicted by mistake; without errors clicks anywhere with label -1, not to be used.
    """
    wrong = truth != predicted
    if not wrong.any():
        return _draw_points(~wrong, count, rng), np.full(count, -1)
    xy = _draw_points(wrong, count, rng)
    columns, rows = xy.astype(int).T
    return xy, truth[rows, columns].astype(np.int64)


def _draw_points(mask: Mask, count: int, rng: Rng) -> NDArray[np.float64]:
    """x, y (count, 2) of pixel centres in a mask, with replacement."""
    rows, columns = np.nonzero(mask)
    drawn = rng.integers(len(rows), size=count)
    return np.stack([columns[drawn] + 0.5, rows[drawn] + 0.5], 1)
