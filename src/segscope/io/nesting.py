"""Contours of one object on one slice to its mask: copies, holes and overlaps told apart.

Programs repeat contours, draw holes as contours of their own, and leave contours that overlap.
Filling what lies inside an odd number of contours gives the holes, but loses copies and overlaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segscope.io.polygons import Box, Points, fill_bounds, signed_area

_COPY_DISTANCE = 0.05  # pixels, in the mean along the contour


@dataclass(frozen=True, eq=False)
class NestedFill:
    """What some contours enclose.

    Attributes:
        mask: (row, column).
        copies: contours that repeat another one.
        overlapping: contours that overlap another one in part.
        empty: contours that enclose no pixel centre.
    """

    mask: NDArray[np.bool_]
    copies: int = 0
    overlapping: int = 0
    empty: int = 0


@dataclass(frozen=True, eq=False)
class _Region:
    """The pixels that a contour encloses.

    Attributes:
        polygon: the contour.
        box: the smallest part of the image that holds all of them.
        mask: (row, column) of the box.
        pixels: how many they are.
    """

    polygon: Points
    box: Box
    mask: NDArray[np.bool_]
    pixels: int

    @classmethod
    def of(cls, polygon: Points, size_hw: tuple[int, int]) -> _Region | None:
        """The region of a contour; None where it encloses no pixel centre."""
        (rows, columns), mask = fill_bounds(polygon, size_hw)
        if not mask.any():
            return None
        row_numbers = np.flatnonzero(mask.any(axis=1))
        column_numbers = np.flatnonzero(mask.any(axis=0))
        mask = mask[
            row_numbers[0] : row_numbers[-1] + 1, column_numbers[0] : column_numbers[-1] + 1
        ]
        top = rows.start + int(row_numbers[0])
        left = columns.start + int(column_numbers[0])
        box = (slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1]))
        return cls(polygon, box, mask, int(np.count_nonzero(mask)))

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """First row, end of the rows, first column, end of the columns."""
        rows, columns = self.box
        return (rows.start, rows.stop, columns.start, columns.stop)

    def is_copy_of(self, other: _Region) -> bool:
        """Whether two contours around the same pixels are the same contour.

        The two borders of a wall that is thinner than a pixel may enclose the same pixels as well;
        those lie apart.
        """
        difference = abs(signed_area(self.polygon)) - abs(signed_area(other.polygon))
        sides = np.roll(self.polygon, -1, axis=0) - self.polygon
        length = float(np.linalg.norm(sides, axis=1).sum())
        return abs(difference) <= _COPY_DISTANCE * length

    def count_common(self, other: _Region) -> int:
        """Pixels that two regions share."""
        rows = _intersect(self.box[0], other.box[0])
        columns = _intersect(self.box[1], other.box[1])
        common = self.mask[self._within(rows, columns)] & other.mask[other._within(rows, columns)]
        return int(np.count_nonzero(common))

    def without(self, holes: Sequence[_Region]) -> NDArray[np.bool_]:
        """The mask of the box, without regions that lie inside this one."""
        mask = self.mask.copy()
        for hole in holes:
            mask[self._within(*hole.box)] &= ~hole.mask
        return mask

    def _within(self, rows: slice, columns: slice) -> Box:
        """A part of the image in the coordinates of the box."""
        return (_shift(rows, -self.box[0].start), _shift(columns, -self.box[1].start))


def _shift(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def _intersect(one: slice, other: slice) -> slice:
    return slice(max(one.start, other.start), min(one.stop, other.stop))


def fill_nested(polygons: Sequence[Points], size_hw: tuple[int, int]) -> NestedFill:
    """Mask of closed contours that belong to one object.

    A contour inside another one is a hole, one inside the hole an island, and so on. Copies of a
    contour count once, whatever their first point and direction. Contours that overlap in part are
    united.

    Args:
        polygons: each (n, 2) of x, y; a contour may contain its hole by a channel of no width.
        size_hw: rows and columns; what lies beyond is cut off.
    """
    candidates = [_Region.of(polygon, size_hw) for polygon in polygons]
    regions = [region for region in candidates if region is not None]
    empty = len(polygons) - len(regions)
    distinct = _drop_copies(regions)
    copies = len(regions) - len(distinct)
    distinct.sort(key=lambda region: -region.pixels)
    mask = _fill_disjoint_or_nested(distinct, size_hw)
    if mask is not None:
        return NestedFill(mask, copies, 0, empty)
    mask, overlapping = _fill_overlapping(distinct, size_hw)
    return NestedFill(mask, copies, overlapping, empty)


def _drop_copies(regions: Sequence[_Region]) -> list[_Region]:
    distinct: list[_Region] = []
    same_pixels: dict[tuple[tuple[int, ...], bytes], list[_Region]] = {}
    for region in regions:
        key = (region.bounds, region.mask.tobytes())
        others = same_pixels.setdefault(key, [])
        if not any(map(region.is_copy_of, others)):
            others.append(region)
            distinct.append(region)
    return distinct


def _fill_disjoint_or_nested(
    regions: Sequence[_Region], size_hw: tuple[int, int]
) -> NDArray[np.bool_] | None:
    """The mask of regions in descending size; None where two overlap in part."""
    innermost = np.full(size_hw, -1, np.int64)
    depths = np.zeros(len(regions) + 1, np.int64)
    depths[-1] = -1  # of the background
    for number, region in enumerate(regions):
        canvas = innermost[region.box]
        around = canvas[region.mask]
        if (around != around[0]).any():
            return None
        depths[number] = depths[around[0]] + 1
        canvas[region.mask] = number
    filled: NDArray[np.bool_] = depths[innermost] % 2 == 0
    return filled


def _fill_overlapping(
    regions: Sequence[_Region], size_hw: tuple[int, int]
) -> tuple[NDArray[np.bool_], int]:
    """The mask of regions in descending size, and how many of them overlap another one in part."""
    around, overlapping = _relate(regions)
    depths: list[int] = []
    holes: list[list[_Region]] = [[] for _ in regions]
    for region, outer in zip(regions, around, strict=True):
        depth = max((depths[number] + 1 for number in outer), default=0)
        depths.append(depth)
        for number in outer:
            if depth % 2 == 1 and depths[number] == depth - 1:
                holes[number].append(region)
    mask = np.zeros(size_hw, bool)
    for region, depth, inner in zip(regions, depths, holes, strict=True):
        if depth % 2 == 0:
            mask[region.box] |= region.without(inner)
    return mask, len(overlapping)


def _relate(regions: Sequence[_Region]) -> tuple[list[list[int]], set[int]]:
    """The regions around each region, and the regions that overlap another one in part."""
    bounds = np.array([region.bounds for region in regions])
    around: list[list[int]] = []
    overlapping: set[int] = set()
    for number, region in enumerate(regions):
        top, bottom, left, right = bounds[number]
        larger = bounds[:number]
        meets = (larger[:, 0] < bottom) & (larger[:, 1] > top)
        meets &= (larger[:, 2] < right) & (larger[:, 3] > left)
        outer = []
        for other in np.flatnonzero(meets).tolist():
            common = region.count_common(regions[other])
            if common == region.pixels:
                outer.append(other)
            elif common:
                overlapping |= {number, other}
        around.append(outer)
    return around, overlapping
