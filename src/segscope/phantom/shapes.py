"""Label maps of objects. Each family draws the objects of one kind of biomedical image.

A family takes a generator and a side length and returns two planes (2, side, side) uint16: plane 0
holds the parts (nucleus, wall, cell), plane 1 the wholes that the parts make up (cell with its
nucleus, ring with its lumen). Where nothing is nested the planes are equal.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from segscope.phantom.fields import grid, smooth

Planes = NDArray[np.uint16]
Family = Callable[[np.random.Generator, int], Planes]


def _same(labels: NDArray) -> Planes:
    labels = labels.astype(np.uint16)
    return np.stack([labels, labels])


def _star(rng: np.random.Generator, rough: float) -> Callable[[NDArray], NDArray]:
    """A random closed outline: relative radius as a function of the angle."""
    orders = np.arange(1, 6)
    size = rough * rng.standard_normal(5) / orders
    phase = rng.uniform(0, 2 * np.pi, 5)
    return lambda angle: np.maximum(
        1 + sum(a * np.cos(k * angle + p) for a, k, p in zip(size, orders, phase, strict=True)),
        0.25,
    )


def _place(
    rng: np.random.Generator,
    side: int,
    centre: NDArray,
    radius: float,
    rough: float,
) -> tuple[tuple[slice, slice], NDArray]:
    """One blob: the window it lies in, and its relative distance there (below 1 is inside)."""
    stretch = np.exp(rng.normal(0, 0.25))
    turn = rng.uniform(0, np.pi)
    reach = int(radius * 2.6) + 2
    y0, x0 = np.maximum(np.floor(centre).astype(int) - reach, 0)
    y1, x1 = np.minimum(np.floor(centre).astype(int) + reach + 1, side)
    window = slice(y0, max(y0, y1)), slice(x0, max(x0, x1))
    y = np.arange(window[0].start, window[0].stop, dtype=np.float32)[:, None] - centre[0]
    x = np.arange(window[1].start, window[1].stop, dtype=np.float32)[None] - centre[1]
    u = (np.cos(turn) * x + np.sin(turn) * y) * stretch
    v = (-np.sin(turn) * x + np.cos(turn) * y) / stretch
    outline = _star(rng, rough)
    return window, np.hypot(u, v) / (radius * outline(np.arctan2(v, u)))


def cells(rng: np.random.Generator, side: int) -> Planes:
    """Separate or touching blobs of similar size."""
    radius = side * np.exp(rng.uniform(np.log(0.02), np.log(0.11)))
    count = int(min(rng.uniform(0.15, 0.75) * side**2 / (np.pi * radius**2), 90)) + 1
    labels = np.zeros((side, side), np.uint16)
    rough = rng.uniform(0.02, 0.22)
    for label, centre in enumerate(rng.uniform(0, side, (count, 2)), 1):
        window, distance = _place(rng, side, centre, radius * np.exp(rng.normal(0, 0.25)), rough)
        inside = distance < 1
        if label % 3 and (labels[window][inside] > 0).mean() > 0.15 if inside.any() else True:
            continue
        labels[window][inside] = label
    return _same(labels)


def nested(rng: np.random.Generator, side: int) -> Planes:
    """Rings, crescents and cells with a nucleus: a whole, its inside and its wall."""
    planes = np.zeros((2, side, side), np.uint16)
    count = int(rng.integers(1, 10))
    thick = rng.uniform(0.3, 0.85)
    label = 1
    for _ in range(count):
        radius = side * np.exp(rng.uniform(np.log(0.06), np.log(0.36 if count < 4 else 0.14)))
        centre = rng.uniform(0.1 * side, 0.9 * side, 2)
        window, outer = _place(rng, side, centre, radius, rng.uniform(0.02, 0.2))
        whole = (outer < 1) & (planes[1][window] == 0)
        if whole.sum() < 40:
            continue
        share = np.clip(thick + rng.normal(0, 0.08), 0.2, 0.92)
        if rng.random() < 0.5:
            inner = outer < share
        else:
            shift = rng.uniform(-1, 1, 2) * radius * (1 - share) * rng.choice([0.8, 1.8])
            y = np.arange(window[0].start, window[0].stop)[:, None] - centre[0] - shift[0]
            x = np.arange(window[1].start, window[1].stop)[None] - centre[1] - shift[1]
            inner = np.hypot(y, x) < share * radius
        inner &= whole
        planes[1][window][whole] = label
        planes[0][window][whole] = label
        if rng.random() < 0.85:
            planes[0][window][inner] = label + 1
        label += 2
    return planes


def organs(rng: np.random.Generator, side: int) -> Planes:
    """A few large bodies, some wider than the view, and some small ones on or between them."""
    parts = np.zeros((side, side), np.uint16)
    wholes = np.zeros((side, side), np.uint16)
    sizes = [rng.uniform(0.14, 0.6) for _ in range(rng.integers(1, 5))] + [
        rng.uniform(0.02, 0.09) for _ in range(rng.integers(0, 9))
    ]
    for label, share in enumerate(sizes, 1):
        window, distance = _place(
            rng, side, rng.uniform(0.1, 0.9, 2) * side, share * side, rng.uniform(0.02, 0.28)
        )
        inside = distance < 1
        parts[window][inside] = label
        if share > 0.12:
            wholes[window][inside] = label
    return np.stack([parts, np.where(wholes > 0, wholes, parts)])


def islands(rng: np.random.Generator, side: int) -> Planes:
    """Connected parts of thresholded noise: irregular lesions, glands, colonies."""
    field = smooth(rng, (side, side), rng.uniform(2.5, 14)) + rng.uniform(0, 0.4) * smooth(
        rng, (side, side), 25
    )
    labels, count = ndimage.label(field > np.quantile(field, rng.uniform(0.45, 0.93)))
    area = np.bincount(labels.ravel(), minlength=count + 1)
    labels[area[labels] < 25] = 0
    return _same(labels)


def mosaic(rng: np.random.Generator, side: int) -> Planes:
    """Tightly packed cells with thin gaps, as in epithelium or electron micrographs."""
    count = int(np.exp(rng.uniform(np.log(6), np.log(90))))
    y, x = np.broadcast_arrays(*grid((side, side)))
    reach = side / np.sqrt(count) * rng.uniform(0.05, 0.4)
    at = np.stack(
        [y + reach * smooth(rng, (side, side), 8), x + reach * smooth(rng, (side, side), 8)], -1
    )
    seeds = rng.uniform(-0.05, 1.05, (count, 2)) * side
    distance, nearest = cKDTree(seeds).query(at.reshape(-1, 2), k=2)
    labels = nearest[:, 0] + 1
    gap = 0.0
    if rng.random() < 0.8:
        gap = rng.uniform(0.5, 5)
    labels[distance[:, 1] - distance[:, 0] < gap] = 0
    if rng.random() < 0.5:
        labels[rng.random(count + 1)[labels] < rng.uniform(0.1, 0.6)] = 0
    return _same(labels.reshape(side, side))


def regions(rng: np.random.Generator, side: int) -> Planes:
    """Large regions that share borders: the largest of several smooth fields."""
    count = int(rng.integers(2, 6))
    pitch = rng.uniform(1.5, 6)
    winner = np.argmax(
        [smooth(rng, (side, side), pitch) + rng.uniform(-0.4, 0.4) for _ in range(count)], 0
    )
    labels = np.zeros((side, side), np.int64)
    total = 0
    for k in range(1, count):
        parts, number = ndimage.label(winner == k)
        labels += np.where(parts > 0, parts + total, 0)
        total += number
    area = np.bincount(labels.ravel(), minlength=total + 1)
    labels[area[labels] < 40] = 0
    return _same(labels)


def tubes(rng: np.random.Generator, side: int) -> Planes:
    """Bent tubes and fibres of slowly changing width."""
    labels = np.zeros((side, side), np.uint16)
    for label in range(1, int(rng.integers(2, 9))):
        steps = int(side * rng.uniform(0.3, 1.3))
        heading = (
            rng.uniform(0, 2 * np.pi)
            + np.cumsum(rng.normal(0, 0.09, steps))
            + rng.normal(0, 0.01) * np.arange(steps)
        )
        path = rng.uniform(0, side, 2) + np.cumsum(
            np.stack([np.sin(heading), np.cos(heading)], 1), 0
        )
        width = side * np.exp(rng.uniform(np.log(0.008), np.log(0.055)))
        line = np.ones((side, side), bool)
        at = np.rint(path).astype(int)
        at = at[((at >= 0) & (at < side)).all(1)]
        if len(at) < 8:
            continue
        line[at[:, 0], at[:, 1]] = False
        wide = width * (1 + 0.3 * smooth(rng, (side, side), 4))
        labels[ndimage.distance_transform_edt(line) < wide] = label
    return _same(labels)


def hearts(rng: np.random.Generator, side: int) -> Planes:
    """A heart cut along its short axis: a hollow body with a thick wall, a crescent that clings to
    it, others by.
    """
    parts = np.zeros((side, side), np.uint16)
    wholes = np.zeros((side, side), np.uint16)
    for label in range(4, 4 + int(rng.integers(0, 5))):
        window, distance = _place(
            rng, side, rng.uniform(0, 1, 2) * side, side * rng.uniform(0.04, 0.2), 0.2
        )
        parts[window][distance < 1] = label
    centre = rng.uniform(0.3, 0.7, 2) * side
    radius = side * np.exp(rng.uniform(np.log(0.07), np.log(0.27)))
    angle = rng.uniform(0, 2 * np.pi)
    away = radius * rng.uniform(0.85, 1.35)
    beside = centre + away * np.array([np.sin(angle), np.cos(angle)])
    window, distance = _place(
        rng, side, beside, radius * rng.uniform(0.75, 1.25), rng.uniform(0.05, 0.2)
    )
    parts[window][distance < 1] = 3
    window, distance = _place(rng, side, centre, radius, rng.uniform(0.02, 0.1))
    gap = rng.choice([1.0, 1.08])
    parts[window][distance < gap] = 0
    wholes[...] = parts
    parts[window][distance < 1] = 1
    wholes[window][distance < 1] = 1
    hollow = rng.uniform(0.45, 0.82) + 0.06 * smooth(rng, (side, side), 10)[window]
    parts[window][distance < hollow] = 2
    return np.stack([parts, wholes])


FAMILIES: tuple[tuple[Family, float], ...] = (
    (cells, 0.18),
    (nested, 0.19),
    (organs, 0.19),
    (islands, 0.12),
    (hearts, 0.09),
    (mosaic, 0.08),
    (regions, 0.08),
    (tubes, 0.07),
)
