"""Masks to polygons along the edges of pixels, and polygons to masks: exact both ways.

One convention holds here: points are (x, y) in pixel index coordinates, x to the right and y down.
The centre of the first pixel is (0, 0) and its corners lie at -0.5 and 0.5, as in DICOM and ITK.
COCO, ASAP and the browser count from the upper left corner of the first pixel instead; their
points pass through `to_corner_origin` and `from_corner_origin`.

A polygon is an array (n, 2) whose last point joins the first; the first is not repeated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
_Corner = tuple[int, int]
_Edges = dict[_Corner, list[_Corner]]

_HALF_PIXEL = 0.5


def to_corner_origin(points: Points) -> Points:
    """Points counted from the corner of the first pixel instead of from its centre."""
    return points + _HALF_PIXEL


def from_corner_origin(points: Points) -> Points:
    """The inverse of `to_corner_origin`."""
    return points - _HALF_PIXEL


# --- masks to polygons ---------------------------------------------------------------------------


def trace_borders(mask: NDArray[np.bool_]) -> list[Points]:
    """All borders of a mask, those of its holes included.

    Where two pixels touch at a corner only, the border keeps them apart: parts are 4-connected,
    holes 8-connected.

    Returns:
        One polygon for each border, with points at its corners only. The area (`signed_area`) of
        an outer border is positive, that of a hole negative.
    """
    edges = _border_edges(mask)
    borders = []
    for start in sorted(edges):
        while start in edges:
            path = _follow_border(edges, start)
            borders.append(from_corner_origin(_turning_points(path)))
    return borders


def trace_parts(mask: NDArray[np.bool_]) -> list[Points]:
    """One polygon for each connected part of a mask; holes are joined to the border around them.

    The joint is a channel of no width, walked once in and once out, so that readers which fill
    every contour get the hole right (DICOM PS3.3 C.8.8.6.3, the keyhole technique).
    """
    borders = trace_borders(mask)
    outer = [border for border in borders if not is_hole(border)]
    holes_of: list[list[Points]] = [[] for _ in outer]
    areas = list(map(signed_area, outer))
    for hole in filter(is_hole, borders):
        around = [number for number, border in enumerate(outer) if _encloses(border, hole)]
        innermost = min(around, key=lambda number: areas[number])
        holes_of[innermost].append(hole)
    return [_join_holes(border, holes) for border, holes in zip(outer, holes_of, strict=True)]


def signed_area(polygon: Points) -> float:
    """Area in pixels; negative where the polygon runs around a hole."""
    x = polygon[:, 0]
    y = polygon[:, 1]
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def is_hole(border: Points) -> bool:
    """Whether a border of `trace_borders` runs around a hole."""
    return signed_area(border) < 0


def _border_edges(mask: NDArray[np.bool_]) -> _Edges:
    """Where the border goes on from each corner. The inside is on the right of every edge.

    Corner (x, y) is the upper left one of pixel (x, y).
    """
    padded = np.pad(mask, 1).astype(np.int8)
    edges: _Edges = {}

    def add(first: _Corner, last: _Corner, forward: bool) -> None:
        if forward:
            edges.setdefault(first, []).append(last)
        else:
            edges.setdefault(last, []).append(first)

    rows_change = np.diff(padded, axis=0)
    for row, column in np.argwhere(rows_change).tolist():
        # an edge between two rows of pixels; below it lies the inside where the mask begins
        begins = bool(rows_change[row, column] > 0)
        add((column - 1, row), (column, row), begins)
    columns_change = np.diff(padded, axis=1)
    for row, column in np.argwhere(columns_change).tolist():
        begins = bool(columns_change[row, column] > 0)
        add((column, row), (column, row - 1), begins)
    return edges


def _follow_border(edges: _Edges, start: _Corner) -> list[_Corner]:
    """Take one closed border out of the edges, turning right wherever two of them meet."""
    path = [start]
    here = _take_edge(edges, start, None)
    while here != start:
        before = path[-1]
        path.append(here)
        here = _take_edge(edges, here, (here[0] - before[0], here[1] - before[1]))
    return path


def _take_edge(edges: _Edges, corner: _Corner, heading: _Corner | None) -> _Corner:
    following = edges[corner]
    choice = 0
    if heading is not None and len(following) > 1:
        right = (corner[0] - heading[1], corner[1] + heading[0])  # y runs down
        choice = following.index(right)
    end = following.pop(choice)
    if not following:
        del edges[corner]
    return end


def _turning_points(path: Sequence[_Corner]) -> Points:
    """The points of a path where it changes its direction."""
    points = np.array(path, np.float64)
    before = points - np.roll(points, 1, axis=0)
    after = np.roll(points, -1, axis=0) - points
    turns = (before != after).any(axis=1)
    return points[turns]


def _encloses(outer: Points, hole: Points) -> bool:
    """Whether the pixel on the hole's side of its first edge lies inside the outer border."""
    beyond_low = hole.min(axis=0) < outer.min(axis=0)
    beyond_high = hole.max(axis=0) > outer.max(axis=0)
    if beyond_low.any() or beyond_high.any():
        return False
    # the topmost edge of a hole has the hole below it: a point just below its middle is in the hole
    topmost = np.lexsort((hole[:, 0], hole[:, 1]))[0]
    x, y = hole[topmost] + 0.5
    end = np.roll(outer, -1, axis=0)
    crosses_row = (outer[:, 1] <= y) != (end[:, 1] <= y)
    is_left = outer[:, 0] < x  # edges are upright where they cross a row
    return bool(np.count_nonzero(crosses_row & is_left) % 2)


def _join_holes(outer: Points, holes: Sequence[Points]) -> Points:
    """One polygon around the outside and, over the shortest channels, around the holes."""
    joined = outer
    for hole in sorted(holes, key=lambda border: float(border[:, 0].min())):
        distance = np.abs(joined[:, None] - hole[None]).sum(axis=2)
        leave, enter = np.unravel_index(int(distance.argmin()), distance.shape)
        around = np.concatenate([np.roll(hole, -enter, axis=0), hole[enter : enter + 1]])
        joined = np.concatenate([joined[: leave + 1], around, joined[leave:]])
    return joined


# --- polygons to masks ---------------------------------------------------------------------------


def fill_even_odd(polygons: Sequence[Points], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Mask (row, column) of the pixels whose centres lie inside an odd number of polygons.

    So a polygon inside another one is a hole, whatever their directions.

    Args:
        polygons: each (n, 2) of x, y.
        size_hw: rows and columns; what lies beyond is cut off.
    """
    rows, columns = size_hw
    crossings = np.zeros((rows, columns + 1), np.int32)
    for polygon in polygons:
        _count_crossings(polygon, crossings)
    inside: NDArray[np.bool_] = np.cumsum(crossings, axis=1)[:, :columns] % 2 == 1
    return inside


def fill_union(polygons: Sequence[Points], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Mask (row, column) of the pixels whose centres lie inside any of the polygons."""
    mask = np.zeros(size_hw, bool)
    for polygon in polygons:
        mask |= fill_even_odd([polygon], size_hw)
    return mask


def _count_crossings(polygon: Points, crossings: NDArray[np.int32]) -> None:
    """Add 1 at the first pixel centre on or behind each crossing of a polygon and a row of centres.

    Args:
        polygon: (n, 2) of x, y.
        crossings: (row, column + 1), changed in place; the last column takes what lies beyond.
    """
    rows = crossings.shape[0]
    columns = crossings.shape[1] - 1
    start = polygon
    end = np.roll(polygon, -1, axis=0)
    # each edge from its upper end to its lower: both directions of one edge give bit-identical
    # crossings, so that parts which share it neither overlap nor leave a gap
    is_downward = (start[:, 1] <= end[:, 1])[:, None]
    upper = np.where(is_downward, start, end)
    lower = np.where(is_downward, end, start)
    first_row = np.clip(np.ceil(upper[:, 1]), 0, rows).astype(np.int64)
    stop_row = np.clip(np.ceil(lower[:, 1]), 0, rows).astype(np.int64)
    heights = stop_row - first_row
    edge = np.repeat(np.arange(len(polygon)), heights)
    first_of_edge = np.repeat(np.cumsum(heights) - heights, heights)
    row = np.arange(heights.sum()) - first_of_edge + first_row[edge]
    run = lower[edge, 0] - upper[edge, 0]
    rise = lower[edge, 1] - upper[edge, 1]
    # multiplied before it is divided: crossings that fall on a pixel centre come out exact
    x = upper[edge, 0] + (row - upper[edge, 1]) * run / rise
    column = np.clip(np.ceil(x), 0, columns).astype(np.int64)
    np.add.at(crossings, (row, column), 1)
