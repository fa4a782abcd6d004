"""Volumes of synthetic bodies: organs, islands and tubes that begin, change, touch and end from
slice to slice.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segscope.phantom.fields import grid, smooth

Shape = tuple[int, int, int]
Labels = NDArray[np.uint16]


def bodies(rng: np.random.Generator, shape: Shape) -> Labels:
    """Bent ellipsoids; some hold a smaller one, some have a wall."""
    z, y, x = grid(shape)
    slices = shape[0]
    side = min(shape[1:])
    bend = [rng.uniform(0, 0.08) * side * smooth(rng, shape, rng.uniform(2, 6)) for _ in range(2)]
    labels = np.zeros(shape, np.uint16)
    label = 0
    for _ in range(int(rng.integers(2, 10))):
        centre = rng.uniform(0.05, 0.95, 3) * shape
        half = side * np.exp(rng.uniform(np.log(0.04), np.log(0.3), 2))
        long = slices * np.exp(rng.uniform(np.log(0.12), np.log(1.2)))
        lean = [slope * side / slices * (z - centre[0]) for slope in rng.uniform(-0.5, 0.5, 2)]
        distance = ((z - centre[0]) / long) ** 2 + (
            (y + bend[0] - centre[1] - lean[0]) / half[0]
        ) ** 2
        distance = distance + ((x + bend[1] - centre[2] - lean[1]) / half[1]) ** 2
        label += 1
        labels[distance < 1] = label
        if rng.random() < 0.35:
            label += 1
            labels[distance < rng.uniform(0.15, 0.7)] = label
    return labels


def islands(rng: np.random.Generator, shape: Shape) -> Labels:
    """Connected parts of thresholded noise."""
    field = smooth(rng, shape, rng.uniform(3, 9)) + rng.uniform(0, 0.4) * smooth(rng, shape, 20)
    labels, count = ndimage.label(field > np.quantile(field, rng.uniform(0.6, 0.93)))
    size = np.bincount(labels.ravel(), minlength=count + 1)
    labels[size[labels] < 60] = 0
    return labels.astype(np.uint16)


def tubes(rng: np.random.Generator, shape: Shape) -> Labels:
    """Round tubes that run through the slices and wander, widen and end; some have a wall."""
    _, y, x = grid(shape)
    slices = shape[0]
    side = min(shape[1:])
    labels = np.zeros(shape, np.uint16)
    label = 0
    for _ in range(int(rng.integers(1, 7))):
        first, last = sorted(rng.integers(0, slices + 1, 2)) if rng.random() < 0.6 else (0, slices)
        path = rng.uniform(0.1, 0.9, 2) * side + np.cumsum(
            rng.normal(0, 0.012 * side, (slices, 2)), 0
        )
        width = side * np.exp(rng.uniform(np.log(0.025), np.log(0.12)))
        width = width * (1 + 0.3 * smooth(rng, (slices,), rng.uniform(2, 5)))
        wide = np.exp(rng.normal(0, 0.2))
        across = [(axis - path[:, k, None, None]) for k, axis in enumerate((y, x))]
        distance = (
            np.hypot(across[0] * wide, across[1] / wide) / np.maximum(width, 1.5)[:, None, None]
        )
        distance[: int(first)], distance[int(last) :] = 9, 9
        label += 2
        labels[distance < 1] = label - 1
        if rng.random() < 0.3:
            labels[distance < rng.uniform(0.4, 0.8)] = label
    return labels


FAMILIES: tuple[tuple[Callable[[np.random.Generator, Shape], Labels], float], ...] = (
    (bodies, 0.6),
    (islands, 0.2),
    (tubes, 0.2),
)


def _render(rng: np.random.Generator, labels: Labels) -> NDArray[np.uint8]:
    """Grey values 0 to 255: levels of bodies, textures, soft background, blur, bias and noise, the
    same on all slices.
    """
    shape = labels.shape
    count = int(labels.max()) + 1
    contrast = rng.uniform(0.08, 0.4)
    sign = np.where(rng.random(count) < rng.choice([0.0, 0.5, 1.0]), -1, 1)
    level = 0.5 + sign * contrast * rng.uniform(0.6, 2.0, count)
    level[0] = 0.5
    if rng.random() < 0.5:
        field = smooth(rng, shape, rng.uniform(2, 7))
        edges = np.sort(rng.normal(0, 1, 2))
        ground = 0.5 + contrast * rng.uniform(-1, 1, 3)[np.digitize(field, edges)]
    else:
        ground = np.full(shape, 0.5)
    image = np.where(labels > 0, level[labels], ground).astype(np.float32)
    for region in (labels > 0, labels == 0):
        strength = rng.uniform(0, 0.4) * contrast
        image += region * (
            strength * smooth(rng, shape, np.exp(rng.uniform(np.log(8), np.log(50))))
        )
    image = ndimage.gaussian_filter(image, (rng.uniform(0, 0.5), *[rng.uniform(0.3, 1.4)] * 2))
    image *= 1 + rng.uniform(0, 0.15) * smooth(rng, shape, 2)
    image += rng.uniform(0, 0.35) * contrast * rng.standard_normal(shape, dtype=np.float32)
    image += rng.uniform(0, 0.04) * rng.standard_normal((shape[0], 1, 1), dtype=np.float32)
    low, high = np.quantile(image[:, ::4, ::4], [rng.uniform(0, 0.02), rng.uniform(0.985, 1)])
    grey = np.clip((image - low) / (high - low + 1e-6), 0, 1) ** np.exp(rng.normal(0, 0.25))
    return np.rint(grey * 255).astype(np.uint8)


def stack(
    rng: np.random.Generator, shape: Shape = (20, 160, 160)
) -> tuple[NDArray[np.uint8], Labels]:
    """A random volume of grey values with exact labels.

    Args:
        rng: source of all randomness.
        shape: slices, rows, columns.

    Returns:
        Grey values and labels, both of `shape`; 0 is background. A body has one label in all
        slices.

    Example:
        >>> import numpy as np
        >>> from segscope.phantom import stack
        >>> values, labels = stack(np.random.default_rng(0), (8, 64, 64))
        >>> values.shape, labels.shape
        ((8, 64, 64), (8, 64, 64))
    """
    weights = np.array([weight for _, weight in FAMILIES])
    family = FAMILIES[rng.choice(len(FAMILIES), p=weights / weights.sum())][0]
    labels = family(rng, shape)
    return _render(rng, labels), labels
