"""Smooth random fields: the raw material of shapes, textures, shading and motion."""

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

    Works in any number of axes by one small matrix product an axis, so it costs far less than
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
    """Coordinates of pixel centres, one array an axis, each broadcastable to `shape`."""
    return list(
        np.meshgrid(*[np.arange(s, dtype=np.float32) for s in shape], indexing="ij", sparse=True)
    )


def warp(labels: NDArray, rng: np.random.Generator, cells: float, reach: float) -> NDArray:
    """Bend a (row, column) map, or planes of it, by a smooth displacement of about `reach` pixels;
    nearest value.
    """
    rows, columns = labels.shape[-2:]
    y, x = grid((rows, columns))
    y = np.clip(np.rint(y + reach * smooth(rng, (rows, columns), cells)), 0, rows - 1).astype(
        np.intp
    )
    x = np.clip(np.rint(x + reach * smooth(rng, (rows, columns), cells)), 0, columns - 1).astype(
        np.intp
    )
    return labels[..., y, x]
