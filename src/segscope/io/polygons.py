"""Masks to polygons along the edges of pixels, and polygons to masks: exact both ways.

One convention holds here: points are (x, y) in pixel index coordinates, x to the right and y down.
The centre of the first pixel is (0, 0) and its corners lie at -0.5 and 0.5, as in DICOM and ITK.
COCO, ASAP and the browser count from the upper left corner of the first pixel instead; their
points pass through `to_corner_origin` and `from_corner_origin`.

A polygon is an array (n, 2) whose last point joins the first; the first is not repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, compress

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
_Corner = tuple[int, int]
_Edges = dict[_Corner, list[_Corner]]
Box = tuple[slice, slice]
"""Rows and columns of an image that a polygon reaches."""

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
    return [
        from_corner_origin(np.array(path, np.float64)[_find_turns(path)])
        for path in _iter_paths(mask)
    ]


def trace_parts(mask: NDArray[np.bool_]) -> list[Points]:
    """One polygon for each connected part of a mask; holes are joined to the border around them.

    The joint is a channel of no width, walked once in and once out, so that readers which fill
    every contour get the hole right (DICOM PS3.3 C.8.8.6.3, the keyhole technique). It runs from
    the leftmost corner of a hole along its row to the next border, so that the work grows with the
    length of the borders, not with the number of pairs of them.
    """
    outer: list[list[_Corner]] = []
    holes: dict[_Corner, list[_Corner]] = {}
    for path in _iter_paths(mask):
        if signed_area(np.array(path, np.float64)) > 0:
            outer.append(path)
        else:
            start = min(path)
            first = path.index(start)
            holes[start] = path[first:] + path[:first]
    joints = _find_joints(mask, holes)
    holes = {start: _keep_corners(path, joints) for start, path in holes.items()}
    parts = []
    for path in outer:
        points = _join_holes(_keep_corners(path, joints), holes, joints)
        parts.append(from_corner_origin(np.array(points, np.float64)))
    return parts


def signed_area(polygon: Points) -> float:
    """Area in pixels; negative where the polygon runs around a hole."""
    x = polygon[:, 0]
    y = polygon[:, 1]
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def is_hole(border: Points) -> bool:
    """Whether a border of `trace_borders` runs around a hole."""
    return signed_area(border) < 0


def _iter_paths(mask: NDArray[np.bool_]) -> Iterator[list[_Corner]]:
    """All borders of a mask, each as the corners of pixels that it passes."""
    edges = _border_edges(mask)
    for start in sorted(edges):
        while start in edges:
            yield _follow_border(edges, start)


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


def _find_turns(path: Sequence[_Corner]) -> NDArray[np.bool_]:
    """Whether a path changes its direction, for each of its corners."""
    points = np.array(path)
    before = points - np.roll(points, 1, axis=0)
    after = np.roll(points, -1, axis=0) - points
    turns: NDArray[np.bool_] = (before != after).any(axis=1)
    return turns


def _find_joints(mask: NDArray[np.bool_], starts: Iterable[_Corner]) -> dict[_Corner, _Corner]:
    """The corner of another border where the channel of each hole ends, with the hole's start."""
    padded = np.pad(mask, 1)
    is_inside = padded[1:] & padded[:-1]  # the pixels above and below each line of corners
    columns = np.arange(padded.shape[1])
    nearest_border = np.maximum.accumulate(np.where(is_inside, 0, columns), axis=1)
    joints = {}
    for x, y in starts:
        # by the padding, this is the pixel to the left of corner x
        end = (int(nearest_border[y, x]), y)
        joints[end] = (x, y)
    return joints


def _keep_corners(path: Sequence[_Corner], joints: Mapping[_Corner, _Corner]) -> list[_Corner]:
    """The corners of a path where it turns, or where the channel of a hole ends."""
    is_kept = _find_turns(path)
    is_kept |= np.fromiter((corner in joints for corner in path), bool, len(path))
    return list(compress(path, is_kept.tolist()))


def _join_holes(
    border: Sequence[_Corner],
    holes: Mapping[_Corner, Sequence[_Corner]],
    joints: dict[_Corner, _Corner],
) -> list[_Corner]:
    """One path around the outside and, over their channels, around the holes.

    The channels that are walked are removed from `joints`.
    """
    points: list[_Corner] = []
    walks: list[Iterator[_Corner]] = [iter(border)]
    while walks:
        corner = next(walks[-1], None)
        if corner is None:
            walks.pop()
            continue
        points.append(corner)
        hole = joints.pop(corner, None)
        if hole is not None:
            walks.append(chain(holes[hole], (hole, corner)))
    return points


# --- polygons to masks ---------------------------------------------------------------------------


def fill_even_odd(polygons: Sequence[Points], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Mask (row, column) of the pixels whose centres lie inside an odd number of polygons.

    So a polygon inside another one is a hole, whatever their directions.

    Args:
        polygons: each (n, 2) of x, y.
        size_hw: rows and columns; what lies beyond is cut off.
    """
    box = (slice(0, size_hw[0]), slice(0, size_hw[1]))
    return _fill_box(polygons, box)


def fill_union(polygons: Sequence[Points], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Mask (row, column) of the pixels whose centres lie inside any of the polygons."""
    mask = np.zeros(size_hw, bool)
    for polygon in polygons:
        box, inside = fill_bounds(polygon, size_hw)
        mask[box] |= inside
    return mask


def fill_bounds(polygon: Points, size_hw: tuple[int, int]) -> tuple[Box, NDArray[np.bool_]]:
    """The pixels of an image around one polygon, and which of them have their centres inside."""
    rows, columns = size_hw
    low = np.clip(np.ceil(polygon.min(axis=0)), 0, (columns, rows)).astype(int)
    high = np.clip(np.floor(polygon.max(axis=0)) + 1, low, (columns, rows)).astype(int)
    box = (slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])))
    return box, _fill_box([polygon], box)


def _fill_box(polygons: Sequence[Points], box: Box) -> NDArray[np.bool_]:
    """The pixels of a box whose centres lie inside an odd number of polygons."""
    rows, columns = box
    height = rows.stop - rows.start
    width = columns.stop - columns.start
    crossings = np.zeros((height, width + 1), np.int32)
    for polygon in polygons:
        _count_crossings(polygon, crossings, rows.start, columns.start)
    inside: NDArray[np.bool_] = np.cumsum(crossings, axis=1)[:, :width] % 2 == 1
    return inside


def _count_crossings(
    polygon: Points, crossings: NDArray[np.int32], first_row: int, first_column: int
) -> None:
    """Add 1 at the first pixel centre on or behind each crossing of a polygon and a row of centres.

    Args:
        polygon: (n, 2) of x, y.
        crossings: (row, column + 1), changed in place; the last column takes what lies beyond.
        first_row, first_column: of the image, where `crossings` begins. Points are not shifted by
            them: neighbours that share an edge must get the same crossings to the last bit.
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
    stop_row = first_row + rows
    from_row = np.clip(np.ceil(upper[:, 1]), first_row, stop_row).astype(np.int64)
    until_row = np.clip(np.ceil(lower[:, 1]), first_row, stop_row).astype(np.int64)
    heights = until_row - from_row
    edge = np.repeat(np.arange(len(polygon)), heights)
    first_of_edge = np.repeat(np.cumsum(heights) - heights, heights)
    row = np.arange(heights.sum()) - first_of_edge + from_row[edge]
    run = lower[edge, 0] - upper[edge, 0]
    rise = lower[edge, 1] - upper[edge, 1]
    # multiplied before it is divided: crossings that fall on a pixel centre come out exact
    x = upper[edge, 0] + (row - upper[edge, 1]) * run / rise
    column = np.clip(np.ceil(x) - first_column, 0, columns).astype(np.int64)
    np.add.at(crossings, (row - first_row, column), 1)
