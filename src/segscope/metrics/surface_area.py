"""Area of the surface between voxel centres, for each combination of eight of them inside or
outside.

Between eight neighbouring voxel centres the surface is that of marching cubes with vertices in the
middle of the edges. Two rules resolve what marching cubes leaves open, and give exactly the areas
of DeepMind's surface-distance (and so of MONAI with `use_subvoxels=True`): the smaller part, inside
or outside, is cut off corner by corner where a face is ambiguous; and a polygon is cut into the
triangles with the largest total area on the unit cube.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

Corner = tuple[int, ...]
Triangle = tuple[int, int, int]

# bit i of a code is corner i, in 2D and in 3D
SQUARE: tuple[Corner, ...] = tuple(product((0, 1), repeat=2))
CUBE: tuple[Corner, ...] = tuple(product((0, 1), repeat=3))
RING: tuple[Corner, ...] = ((0, 0), (0, 1), (1, 1), (1, 0))  # corners of a face, in order


@lru_cache(maxsize=64)
def measures(spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Area (three axes) or length (two axes) of the surface within a cell, by code of its corners.

    Args:
        spacing: distances of voxel centres along each axis.

    Returns:
        (256,) in spacing² or (16,) in spacing.
    """
    if len(spacing) == 2:
        return np.array([_length(code, spacing) for code in range(16)])
    codes, vertices = _surface()
    a, b, c = np.moveaxis(vertices * np.asarray(spacing), 1, 0)
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    return np.bincount(codes, areas, minlength=256).astype(np.float64)


def _inside(code: int, corners: Sequence[Corner]) -> list[Corner]:
    """The corners whose bits are set."""
    return [corner for i, corner in enumerate(corners) if code >> i & 1]


def _length(code: int, spacing: tuple[float, ...]) -> float:
    inside = _inside(code, SQUARE)
    if len(inside) in (0, 4):
        return 0.0
    half_diagonal = math.hypot(*spacing) / 2
    if len(inside) != 2:
        return half_diagonal
    (a, b), (c, d) = inside
    if a == c:
        return spacing[1]
    if b == d:
        return spacing[0]
    return 2 * half_diagonal


@lru_cache(maxsize=1)
def _surface() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Code (n,) and vertices (n, 3, 3) on the unit cube of all triangles."""
    codes = []
    triangles = []
    for code in range(1, 255):
        corners = set(_inside(code, CUBE))
        if len(corners) > 4:
            corners = set(CUBE) - corners  # the smaller part is cut off
        for polygon in _polygons(corners):
            cut = _largest_cut(polygon)
            codes += [code] * len(cut)
            triangles += [polygon[list(triangle)] for triangle in cut]
    return np.array(codes), np.array(triangles)


def _polygons(inside: set[Corner]) -> Iterator[NDArray[np.float64]]:
    """Closed polygons (n, 3) of edge middles that separate `inside` from the other corners."""
    joined: dict[Corner, list[Corner]] = {}
    for start, end in _segments(inside):
        joined.setdefault(start, []).append(end)
        joined.setdefault(end, []).append(start)
    while joined:
        polygon = [min(joined)]
        while True:
            ends = joined.pop(polygon[-1])
            ahead = [vertex for vertex in ends if vertex in joined]
            if not ahead:
                break
            polygon.append(ahead[0])
        yield np.array(polygon) / 2


def _segments(inside: set[Corner]) -> Iterator[tuple[Corner, Corner]]:
    """Lines on the faces of the cube, from edge to edge; the middle of an edge is the sum of its
    ends.
    """
    for axis, side in product(range(3), (0, 1)):
        ring = [(*corner[:axis], side, *corner[axis:]) for corner in RING]
        before = ring[-1:] + ring[:-1]
        middles = list(map(_middle, ring, before))
        crossed = [i for i in range(4) if (ring[i] in inside) != (before[i] in inside)]
        if len(crossed) == 2:
            first, second = crossed
            yield middles[first], middles[second]
        elif len(crossed) == 4:  # ambiguous: each inner corner is cut off
            cut = [i for i in range(4) if ring[i] in inside]
            yield from ((middles[i], middles[(i + 1) % 4]) for i in cut)


def _middle(one: Corner, other: Corner) -> Corner:
    return tuple(map(operator.add, one, other))


def _largest_cut(polygon: NDArray[np.float64]) -> list[Triangle]:
    def area(triangle: Triangle) -> float:
        a, b, c = polygon[list(triangle)]
        return float(np.linalg.norm(np.cross(b - a, c - a)))

    # rounded, so that the last bit does not decide between equal cuts
    return max(_cuts(0, len(polygon) - 1), key=lambda cut: round(sum(map(area, cut)), 9))


def _cuts(first: int, last: int) -> list[list[Triangle]]:
    """All ways to cut a polygon with these vertices into triangles."""
    if last - first < 2:
        return [[]]
    return [
        [*left, *right, (first, middle, last)]
        for middle in range(first + 1, last)
        for left in _cuts(first, middle)
        for right in _cuts(middle, last)
    ]
