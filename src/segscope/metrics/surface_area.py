"""Area of the surface that passes between voxel centres, for each way that eight of them can lie in
and out.

Between eight neighbouring voxel centres the surface is that of marching cubes with vertices in the
middle of the edges. Two rules settle what marching cubes leaves open, and give the areas of
DeepMind's surface-distance to the last digit (and so of MONAI with `use_subvoxels=True`): the
smaller part, inside or outside, is cut off corner by corner where a face is ambiguous; and a
polygon is cut into the triangles that have the largest area in all on the unit cube.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

Corner = tuple[int, ...]
Triangle = tuple[int, int, int]

# bit i of a code belongs to corner i, in 2D and in 3D
SQUARE: tuple[Corner, ...] = tuple(product((0, 1), repeat=2))
CUBE: tuple[Corner, ...] = tuple(product((0, 1), repeat=3))


@lru_cache(maxsize=64)
def measures(spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Area (three axes) or length (two axes) of the surface inside a cell, by code of its corners.

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


def _length(code: int, spacing: tuple[float, ...]) -> float:
    inside = [corner for i, corner in enumerate(SQUARE) if code >> i & 1]
    if len(inside) in (0, 4):
        return 0.0
    half_diagonal = math.hypot(*spacing) / 2
    if len(inside) != 2:
        return half_diagonal
    (a, b), (c, d) = inside
    if a != c and b != d:
        return 2 * half_diagonal
    if a == c:
        return spacing[1]
    return spacing[0]


@lru_cache(maxsize=1)
def _surface() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Code (n,) and vertices (n, 3, 3) on the unit cube of all triangles."""
    codes = []
    triangles = []
    for code in range(1, 255):
        inside = {corner for i, corner in enumerate(CUBE) if code >> i & 1}
        for polygon in _polygons(inside if len(inside) <= 4 else set(CUBE) - inside):
            cut = _largest_cut(polygon)
            codes += [code] * len(cut)
            triangles += [polygon[list(triangle)] for triangle in cut]
    return np.array(codes), np.array(triangles)


def _polygons(inside: set[Corner]) -> Iterator[NDArray[np.float64]]:
    """Closed polygons (n, 3) of edge middles that part `inside` from the other corners of the cube."""
    joined: dict[Corner, list[Corner]] = {}
    for start, end in _segments(inside):
        joined.setdefault(start, []).append(end)
        joined.setdefault(end, []).append(start)
    while joined:
        polygon = [min(joined)]
        while ahead := [vertex for vertex in joined.pop(polygon[-1]) if vertex in joined]:
            polygon.append(ahead[0])
        yield np.array(polygon) / 2


def _segments(inside: set[Corner]) -> Iterator[tuple[Corner, Corner]]:
    """Lines on the faces of the cube, from edge to edge; the middle of an edge is the sum of its
    ends.
    """
    for axis, side in product(range(3), (0, 1)):
        ring = [
            (*square[:axis], side, *square[axis:]) for square in ((0, 0), (0, 1), (1, 1), (1, 0))
        ]
        crossed = [i for i in range(4) if (ring[i] in inside) != (ring[i - 1] in inside)]
        middles = [
            tuple(p + q for p, q in zip(ring[i], ring[i - 1], strict=True)) for i in range(4)
        ]
        if len(crossed) == 2:
            yield middles[crossed[0]], middles[crossed[1]]
        elif len(crossed) == 4:
            yield from ((middles[i], middles[(i + 1) % 4]) for i in range(4) if ring[i] in inside)


def _largest_cut(polygon: NDArray[np.float64]) -> list[Triangle]:
    def area(triangle: Triangle) -> float:
        a, b, c = polygon[list(triangle)]
        return float(np.linalg.norm(np.cross(b - a, c - a)))

    # rounded, so that equal cuts are not told apart by the last bit
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
