"""Outlines of masks and masks of outlines, along the edges of pixels: exact both ways.

Points are (x, y) in pixel index coordinates: the centre of the first pixel is (0, 0), its corners
are at -0.5 and 0.5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def fill(contours: list[Points], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Mask (row, column) of the pixels whose centres lie inside closed outlines.

    A pixel inside an even number of outlines is outside (holes; even-odd rule), whatever their
    direction.

    Args:
        contours: each (n, 2) of x, y; the last point joins the first.
        size_hw: rows and columns; what lies beyond is cut off.
    """
    rows, columns = size_hw
    changes = np.zeros((rows, columns + 1), np.int32)
    for points in contours:
        start = points
        end = np.roll(points, -1, axis=0)
        upward = (start[:, 1] <= end[:, 1])[
            :, None
        ]  # both directions of one edge give bit-identical crossings
        low = np.where(upward, start, end)
        high = np.where(upward, end, start)
        first = np.clip(np.ceil(low[:, 1]), 0, rows).astype(np.int64)
        stop = np.clip(np.ceil(high[:, 1]), 0, rows).astype(np.int64)
        lengths = stop - first
        edge = np.repeat(np.arange(len(points)), lengths)
        y = (
            np.arange(lengths.sum())
            - np.repeat(np.cumsum(lengths) - lengths, lengths)
            + first[edge]
        )
        slope = (high[edge, 0] - low[edge, 0]) / (high[edge, 1] - low[edge, 1])
        x = low[edge, 0] + (y - low[edge, 1]) * slope
        np.add.at(changes, (y, np.clip(np.ceil(x), 0, columns).astype(np.int64)), 1)
    return (np.cumsum(changes, axis=1)[:, :columns] % 2).astype(bool)


def outline(mask: NDArray[np.bool_]) -> list[Points]:
    """Closed outlines of a mask along the edges of its pixels; each hole is joined to the outline
    around it.

    The joint is a channel of no width, walked once in and once out, so that readers which fill
    every contour get the hole right (DICOM PS3.3 C.8.8.6.3, the keyhole technique).

    Returns:
        One (n, 2) array of x, y for each connected part, without repeating the first point.
    """
    loops = _loops(mask)
    outers = [loop for loop in loops if _area(loop) > 0]
    holes = [loop for loop in loops if _area(loop) < 0]
    owned: list[list[Points]] = [[] for _ in outers]
    areas = [_area(loop) for loop in outers]
    for hole in holes:
        inside = [number for number, loop in enumerate(outers) if _contains(loop, hole)]
        owned[min(inside, key=lambda number: areas[number])].append(hole)
    return [_joined(loop, own) for loop, own in zip(outers, owned, strict=True)]


def _loops(mask: NDArray[np.bool_]) -> list[Points]:
    """Corner points of all borders, the inside on one side; outer borders have positive area, holes
    negative.

    Where two pixels touch at a corner only, the border keeps them apart.
    """
    padded = np.pad(mask, 1).astype(np.int8)
    following: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for axis in (0, 1):
        change = np.diff(padded, axis=axis)
        for y, x in np.argwhere(change != 0).tolist():
            # corner (x, y) of the padded grid is the upper left one of pixel (x, y) of the mask
            into = change[y, x] > 0
            if axis == 0:
                a = (x - 1, y)
                b = (x, y)
                if into:
                    edge = (a, b)
                else:
                    edge = (b, a)
            else:
                a = (x, y - 1)
                b = (x, y)
                if into:
                    edge = (b, a)
                else:
                    edge = (a, b)
            following.setdefault(edge[0], []).append(edge[1])
    loops = []
    while following:
        start = next(iter(following))
        loops.append(_walk(start, following))
    return loops


def _walk(
    start: tuple[int, int], following: dict[tuple[int, int], list[tuple[int, int]]]
) -> Points:
    """Follow edges from `start` until it is met again, turning towards the inside where there is a
    choice.
    """
    path = [start]
    at = start
    before = (0, 0)
    while True:
        choices = following[at]
        pick = 0
        if len(choices) > 1 and before != (0, 0):
            turns = [before[0] * (to[1] - at[1]) - before[1] * (to[0] - at[0]) for to in choices]
            pick = int(np.argmax(turns))
        to = choices.pop(pick)
        if not choices:
            del following[at]
        before = (to[0] - at[0], to[1] - at[1])
        at = to
        if at == start:
            break
        path.append(at)
    points = np.array(path, np.float64)
    ahead = np.roll(points, -1, axis=0) - points
    behind = points - np.roll(points, 1, axis=0)
    corners = np.abs(ahead[:, 0] * behind[:, 1] - ahead[:, 1] * behind[:, 0]) > 0.5
    return points[corners] - 0.5


def _area(loop: Points) -> float:
    x = loop[:, 0]
    y = loop[:, 1]
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def _contains(outer: Points, hole: Points) -> bool:
    """Whether the pixel on the hole's side of its first edge lies inside the outer border."""
    low = outer.min(axis=0)
    high = outer.max(axis=0)
    if (hole.min(axis=0) < low).any() or (hole.max(axis=0) > high).any():
        return False
    # the topmost edge of a hole has the hole below it: a point just below its middle is in the hole
    top = hole[np.lexsort((hole[:, 0], hole[:, 1]))[0]]
    x = top[0] + 0.5
    y = top[1] + 0.5
    start = outer
    end = np.roll(outer, -1, axis=0)
    crossing = (start[:, 1] <= y) != (end[:, 1] <= y)
    left = start[:, 0] < x  # edges are upright where they cross a row
    return bool(np.count_nonzero(crossing & left) % 2)


def _joined(outer: Points, holes: list[Points]) -> Points:
    """One outline that runs around the outside and, over the shortest channels, around the holes."""
    result = outer
    for hole in sorted(holes, key=lambda loop: float(loop[:, 0].min())):
        distance = np.abs(result[:, None] - hole[None]).sum(axis=2)
        here, there = np.unravel_index(int(distance.argmin()), distance.shape)
        around = np.concatenate([np.roll(hole, -there, axis=0), hole[there : there + 1]])
        result = np.concatenate([result[: here + 1], around, result[here:]])
    return result
