"""Smooth random fields, from which shapes, textures, shading and motion are built."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@lru_cache(maxsize=256)
def _interpolation(length: int, knots: int) -> Array:
    """(length, knots) weights of a Gaussian-kernel interpolation from `knots` equally spaced
    values.
    """
    at = (np.arange(length) + 0.5) / length * (knots - 2) + 0.5
    weight = np.exp(-0.5 * ((at[:, None] - np.arange(knots)[None]) / 0.6) ** 2)
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)


def smooth(rng: np.random.Generator, shape: tuple[int, ...], cells: float) -> Array:
    """A random field of mean 0 and standard deviation 1 with about `cells` bumps along its longest
    axis.

    It takes one small matrix product per axis, in any number of axes, and so costs far less than
    filtering noise.
    """
    longest = max(shape)
    knots = [max(3, round(cells * side / longest) + 2) for side in shape]
    field = rng.standard_normal(knots, dtype=np.float32)
    for axis, (side, count) in enumerate(zip(shape, knots, strict=True)):
        field = np.moveaxis(np.tensordot(_interpolation(side, count), field, (1, axis)), 0, axis)
    field = field - field.mean()
    return np.ascontiguousarray(field / (field.std() + 1e-6), dtype=np.float32)


def grid(shape: tuple[int, ...]) -> list[Array]:
    """Coordinates of pixel centres, one array per axis, each broadcastable to `shape`."""
    axes = [np.arange(side, dtype=np.float32) for side in shape]
    return list(np.meshgrid(*axes, indexing="ij", sparse=True))


def warp(labels: NDArray, rng: np.random.Generator, cells: float, reach: float) -> NDArray:
    """Bend a (row, column) map, or planes of it, by a smooth displacement of about `reach` pixels;
    nearest value.
    """
    rows, columns = labels.shape[-2:]
    y, x = grid((rows, columns))
    bent_y = np.rint(y + reach * smooth(rng, (rows, columns), cells))
    bent_x = np.rint(x + reach * smooth(rng, (rows, columns), cells))
    nearest_y = np.clip(bent_y, 0, rows - 1).astype(np.intp)
    nearest_x = np.clip(bent_x, 0, columns - 1).astype(np.intp)
    return labels[..., nearest_y, nearest_x]
