"""Strokes inside an object or an error: straight, along the middle, or along the edge; interrupted
and bent as if drawn by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segscope.prompts import Prompt, Scribble
from segscope.simulate.annotation_target import AnnotationTarget, Rng
from segscope.simulate.regions import Mask, bounds, depth
from segscope.simulate.skeleton import Line, lines, thin

Depth = NDArray[np.float64]

STROKES = 3  # at most, in one round
WIDTH = 3.0  # pixels, where there is room
WAVE = 15.0  # pixels between the bends of a hand


def line(target: AnnotationTarget, rng: Rng) -> list[Prompt]:
    """A straight line between two random pixels, where it lies inside."""
    return _draw(target, rng, _chord)


def center(target: AnnotationTarget, rng: Rng) -> list[Prompt]:
    """Along the skeleton."""
    return _draw(target, rng, _bone)


def contour(target: AnnotationTarget, rng: Rng) -> list[Prompt]:
    """Along the edge of the region after it was eroded by a fifth to three fifths of its depth."""
    return _draw(target, rng, _shell)


def _chord(region: Mask, _deep: Depth, rng: Rng) -> list[Line]:
    inside = np.argwhere(region)
    return [_straight(inside[rng.integers(len(inside), size=2)])]


def _bone(region: Mask, deep: Depth, _rng: Rng) -> list[Line]:
    step = 1 + int(deep.max() / 32)  # thick objects are thinned on a coarser grid, to save time
    rows, columns = bounds(region) or (slice(0), slice(0))
    bone = thin(region[rows, columns][::step, ::step])
    corner = (rows.start, columns.start)
    return [_straight(line * step + corner) for line in lines(bone, STROKES)]


def _shell(_region: Mask, deep: Depth, rng: Rng) -> list[Line]:
    inner = deep > rng.uniform(0.2, 0.6) * deep.max()
    return lines(inner & ~ndimage.binary_erosion(inner), STROKES)


def _straight(corners: NDArray[np.intp]) -> Line:
    """All pixels on the way from corner to corner."""
    runs = [corners[:1]]
    for start, end in pairwise(corners):
        steps = max(int(np.abs(end - start).max()), 1)
        shares = np.arange(1, steps + 1) / steps
        run = np.rint(start + (end - start) * shares[:, None])
        runs.append(run.astype(np.intp))
    return np.concatenate(runs)


def _draw(
    target: AnnotationTarget, rng: Rng, trace: Callable[[Mask, Depth, Rng], list[Line]]
) -> list[Prompt]:
    """Traced lines as strokes that stay inside the region: interrupted, bent, the longest few."""
    region, positive = target.region()
    if not region.any():
        return []
    deep = depth(region)
    runs: list[Line] = []
    for traced in trace(region, deep, rng):
        runs += _broken(traced, deep, rng)
    runs.sort(key=len, reverse=True)
    if not runs:
        runs = [np.argwhere(deep == deep.max())[:1]]
    strokes: list[Prompt] = []
    for run in runs[:STROKES]:
        room = deep[tuple(run.T)]
        bent = run + _bends(len(run), rng) * (0.5 * (room - 1))[:, None] + 0.5
        xy = tuple(map(tuple, bent[:, ::-1].tolist()))
        width = min(max(float(2 * room.min() - 1), 1.0), WIDTH)
        strokes.append(Scribble(xy, target.frame, target.object_id, positive, width))
    return strokes


def _broken(one: Line, deep: Depth, rng: Rng) -> list[Line]:
    """The pieces of a line that lie inside, interrupted by up to two gaps of 5 to 15 % of it."""
    drawn: Mask = deep[tuple(one.T)] > 0
    for _ in range(rng.integers(3)):
        length = int(len(one) * rng.uniform(0.05, 0.15))
        start = rng.integers(len(one))
        drawn[start : start + length] = False
    edges = np.flatnonzero(np.diff(np.concatenate([[False], drawn, [False]])))
    return [one[start:stop] for start, stop in edges.reshape(-1, 2)]


def _bends(count: int, rng: Rng) -> NDArray[np.float64]:
    """Smooth offsets (count, 2) of at most one pixel.

    Multiplied by half the room around a pixel, such an offset never leads outside: the room is the
    distance to the nearest pixel outside.
    """
    knots = 2 + int(count / WAVE)
    places = np.linspace(0, knots - 1, count)
    axes = [np.interp(places, np.arange(knots), rng.uniform(-1, 1, knots)) for _ in range(2)]
    return np.column_stack(axes) / np.sqrt(2)
