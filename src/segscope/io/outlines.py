"""Masks to polygons along their pixel edges, and polygons to masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def outlines(mask: NDArray[np.bool_]) -> list[list[float]] | None:
    """Rings [x0, y0, x1, y1, ...] around the parts of a mask, in pixel edges; None when a part has
    a hole.
    """
    follow: dict[tuple[int, int], list[tuple[int, int]]] = {}
    padded = np.pad(mask, 1)
    # edges run with the inside on their right: a ring around a part turns one way, around a hole
    # the other way
    for (dy, dx), (first, last) in {
        (-1, 0): ((0, 0), (1, 0)), (1, 0): ((1, 1), (0, 1)), (0, -1): ((0, 1), (0, 0)), (0, 1): ((1, 0), (1, 1)),
    }.items():  # fmt: skip
        outside = ~np.roll(padded, (-dy, -dx), (0, 1))
        for y, x in np.argwhere(padded & outside) - 1:
            start = (int(x) + first[0], int(y) + first[1])
            follow.setdefault(start, []).append((int(x) + last[0], int(y) + last[1]))
    rings = []
    while follow:
        ring = _ring(follow)
        xs, ys = np.array(ring).T
        if np.dot(xs, np.roll(ys, -1)) - np.dot(ys, np.roll(xs, -1)) < 0:
            return None
        rings.append([float(value) for point in _corners(ring) for value in point])
    return rings


def _ring(follow: dict[tuple[int, int], list[tuple[int, int]]]) -> list[tuple[int, int]]:
    """Take one closed ring of edges out; where two meet in a corner, turn right, so that parts stay
    apart.
    """
    start = min(follow)
    ring = [start]
    here = _take(follow, start, None)
    while here != start:
        ring.append(here)
        before = ring[-2]
        here = _take(follow, here, (here[0] - before[0], here[1] - before[1]))
    return ring


def _take(
    follow: dict[tuple[int, int], list[tuple[int, int]]],
    at: tuple[int, int],
    heading: tuple[int, int] | None,
) -> tuple[int, int]:
    ways = follow[at]
    chosen = 0
    if heading is not None and len(ways) > 1:
        right = (-heading[1], heading[0])  # y runs down
        chosen = next(i for i, way in enumerate(ways) if (way[0] - at[0], way[1] - at[1]) == right)
    way = ways.pop(chosen)
    if not ways:
        del follow[at]
    return way


def _corners(ring: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The points of a ring where it turns."""
    points = np.array(ring)
    before = points - np.roll(points, 1, axis=0)
    after = np.roll(points, -1, axis=0) - points
    return [ring[i] for i in np.flatnonzero((before != after).any(axis=1)).tolist()]


def rasterised(rings: Sequence[Any], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels whose centre lies inside one of the rings [x0, y0, x1, y1, ...].

    Raises:
        ValueError: a ring that is no list of at least three finite points.
    """
    mask = np.zeros(size_hw, bool)
    for ring in rings:
        points = np.asarray(ring, dtype=np.float64).ravel()
        if len(points) < 6 or len(points) % 2 or not np.isfinite(points).all():
            raise ValueError("a polygon is x0, y0, x1, y1, x2, y2 ... with at least three points")
        mask |= _inside(points.reshape(-1, 2), size_hw)
    return mask


def _inside(points: NDArray[np.float64], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Even-odd rule row by row: a pixel centre is inside when an odd number of edges lies left of
    it.
    """
    rows, columns = size_hw
    crossings = np.zeros((rows, columns + 1), np.int32)
    ends = np.roll(points, -1, axis=0)
    for (x0, y0), (x1, y1) in zip(points, ends, strict=True):
        if y0 == y1:
            continue
        low, high = sorted((y0, y1))
        first = max(0, int(np.ceil(low - 0.5)))
        last = min(rows, int(np.ceil(high - 0.5)))
        at = np.arange(first, last)
        x = x0 + (at + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        np.add.at(crossings, (at, np.clip(np.ceil(x - 0.5), 0, columns).astype(np.int64)), 1)
    inside: NDArray[np.bool_] = np.cumsum(crossings, axis=1)[:, :columns] % 2 == 1
    return inside
