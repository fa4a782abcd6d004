"""Strokes inside an object or an error: straight, along the middle, along the edge; broken and
warped like a hand's.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segscope.prompts import Prompt, Scribble
from segscope.simulate.annotation_target import Rng, Target
from segscope.simulate.regions import Mask, bounds, depth
from segscope.simulate.skeleton import Line, lines, thin

Depth = NDArray[np.float64]

STROKES = 3  # at most, in one round
WIDTH = 3.0  # pixels, where there is room
WAVE = 15.0  # pixels between the bends of a hand


def line(target: Target, rng: Rng) -> list[Prompt]:
    """A straight line between two random pixels, where it lies inside."""
    return _draw(target, rng, _chord)


def center(target: Target, rng: Rng) -> list[Prompt]:
    """Along the skeleton."""
    return _draw(target, rng, _bone)


def contour(target: Target, rng: Rng) -> list[Prompt]:
    """Along the edge of the region after it was eroded by a fifth to three fifths of its depth."""
    return _draw(target, rng, _shell)


def _chord(region: Mask, _deep: Depth, rng: Rng) -> list[Line]:
    inside = np.argwhere(region)
    return [_straight(inside[rng.integers(len(inside), size=2)])]


def _bone(region: Mask, deep: Depth, _rng: Rng) -> list[Line]:
    step = 1 + int(
        deep.max() / 32
    )  # a thick object is thinned on a coarser grid, in a fraction of the time
    rows, columns = bounds(region) or (slice(0), slice(0))
    bone = thin(region[rows, columns][::step, ::step])
    return [_straight(found * step + (rows.start, columns.start)) for found in lines(bone, STROKES)]


def _shell(_region: Mask, deep: Depth, rng: Rng) -> list[Line]:
    inner = deep > rng.uniform(0.2, 0.6) * deep.max()
    return lines(inner & ~ndimage.binary_erosion(inner), STROKES)


def _straight(corners: NDArray[np.intp]) -> Line:
    """All pixels on the way from corner to corner."""
    runs = [corners[:1]]
    for start, end in pairwise(corners):
        steps = max(int(np.abs(end - start).max()), 1)
        runs.append(
            np.rint(start + (end - start) * (np.arange(1, steps + 1) / steps)[:, None]).astype(
                np.intp
            )
        )
    return np.concatenate(runs)


def _draw(
    target: Target, rng: Rng, trace: Callable[[Mask, Depth, Rng], list[Line]]
) -> list[Prompt]:
    """Traced lines as strokes that stay inside the region: interrupted, warped, the longest few."""
    region, positive = target.region()
    if not region.any():
        return []
    deep = depth(region)
    runs = sorted(
        (run for one in trace(region, deep, rng) for run in _broken(one, deep, rng)),
        key=len,
        reverse=True,
    )
    strokes: list[Prompt] = []
    for run in runs[:STROKES] or [np.argwhere(deep == deep.max())[:1]]:
        room = deep[tuple(run.T)]
        xy = (run + _bends(len(run), rng) * (0.5 * (room - 1))[:, None] + 0.5)[:, ::-1]
        width = min(max(float(2 * room.min() - 1), 1.0), WIDTH)
        strokes.append(
            Scribble(
                tuple(map(tuple, xy.tolist())), target.frame, target.object_id, positive, width
            )
        )
    return strokes


def _broken(one: Line, deep: Depth, rng: Rng) -> list[Line]:
    """The pieces of a line that lie inside, after up to two gaps of 5 to 15 % of it were made."""
    kept: Mask = deep[tuple(one.T)] > 0
    for _ in range(rng.integers(3)):
        length = int(len(one) * rng.uniform(0.05, 0.15))
        start = rng.integers(len(one))
        kept[start : start + length] = False
    edges = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]])))
    return [one[start:stop] for start, stop in edges.reshape(-1, 2)]


def _bends(count: int, rng: Rng) -> NDArray[np.float64]:
    """Smooth offsets (count, 2) of at most one pixel.

    Half the room around a pixel times such an offset leads to no pixel outside: room counts to the
        nearest of them.
    """
    knots = 2 + int(count / WAVE)
    at = np.linspace(0, knots - 1, count)
    return np.column_stack(
        [np.interp(at, np.arange(knots), rng.uniform(-1, 1, knots)) for _ in range(2)]
    ) / np.sqrt(2)
