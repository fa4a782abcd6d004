"""Thinning of masks (row, column), and lines of pixels through the skeleton."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from segscope.simulate.regions import Mask, parts

Line = NDArray[np.intp]  # (n, 2): row, column of touching pixels, in order

RING = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))
"""Offsets of the neighbours, in order around a pixel."""


def _removable() -> NDArray[np.bool_]:
    """For each pattern of eight neighbours (bit k: RING[k] is set): whether the pixel is not an end
    and does not connect others.

    The latter is Yokoi's connectivity number for 8-connected objects being one: removing such a
    pixel changes neither the parts nor the holes.
    """
    rings = (np.arange(256)[:, None] >> np.arange(8)) & 1
    empty = 1 - rings
    number = sum(
        empty[:, k] - empty[:, k] * empty[:, k + 1] * empty[:, (k + 2) % 8] for k in (0, 2, 4, 6)
    )
    return np.asarray((number == 1) & (rings.sum(axis=1) > 1))


REMOVABLE = _removable()


def thin(mask: Mask) -> Mask:
    """The skeleton of a mask: lines in it with as many 8-connected parts and as many holes.

    Pixels are peeled off layer by layer in four interleaved grids. No two pixels of a grid touch,
    so that removing them at once is removing them one by one.
    """
    image = np.pad(mask, 1).astype(np.uint8)
    rows, columns = image.shape
    left = -1
    while left != (left := int(image.sum())):
        ringed = image[:-2, 1:-1] & image[2:, 1:-1] & image[1:-1, :-2] & image[1:-1, 2:]
        rim = np.pad(1 - ringed, 1).astype(bool)
        for top, side in product((1, 2), repeat=2):
            grid = (slice(top, rows - 1, 2), slice(side, columns - 1, 2))
            code = np.zeros(image[grid].shape, np.uint8)
            for bit, (y, x) in enumerate(RING):
                code |= image[top + y : rows - 1 + y : 2, side + x : columns - 1 + x : 2] << bit
            image[grid][REMOVABLE[code] & rim[grid]] = 0
    return image[1:-1, 1:-1].astype(bool)


def lines(pixels: Mask, most: int) -> list[Line]:
    """Up to `most` lines through thin pixels: the longest of the largest part, then of the other
    pixels.
    """
    left = pixels.copy()
    chosen: list[Line] = []
    while len(chosen) < most and left.any():
        ((rows, columns), part) = next(parts(left, 1))
        line = _longest(part) + np.array((rows.start, columns.start))
        if chosen and len(line) < 3:
            break
        chosen.append(line)
        left[tuple(line.T)] = False
    return chosen


def _longest(part: Mask) -> Line:
    """The line between two pixels of a connected part whose distance in it is about the longest."""
    pixels = [(int(row), int(column)) for row, column in np.argwhere(part)]
    end, _ = _walk(set(pixels), pixels[0])
    start, before = _walk(set(pixels), end)
    line = [start]
    while line[-1] != end:
        line.append(before[line[-1]])
    return np.array(line)


def _walk(
    pixels: set[tuple[int, int]], start: tuple[int, int]
) -> tuple[tuple[int, int], dict[tuple[int, int], tuple[int, int]]]:
    """The pixel farthest from `start` in steps, and for each pixel the one before it on the way."""
    before = {start: start}
    queue = [start]
    for row, column in queue:  # grows during the iteration
        for y, x in RING:
            near = (row + y, column + x)
            if near in pixels and near not in before:
                before[near] = (row, column)
                queue.append(near)
    return queue[-1], before
