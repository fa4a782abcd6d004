"""Pairs of random masks of many kinds, for comparisons with other libraries."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
Pair = Callable[[int], tuple[Mask, Mask, tuple[float, ...]]]


def _blob(rng: np.random.Generator, shape: tuple[int, ...]) -> Mask:
    """One of: an ellipsoid, a box, rough noise, a few parts; many touch the border. Never empty."""
    kind = rng.integers(4)
    grid = np.indices(shape)
    centre, radius = rng.uniform(0, shape), rng.uniform(1.5, np.maximum(np.array(shape) / 2, 2))
    apart = np.moveaxis(np.abs(np.moveaxis(grid, 0, -1) - centre) / radius, -1, 0)
    if kind == 0:
        mask = (apart**2).sum(0) <= 1
    elif kind == 1:
        mask = apart.max(0) <= 1
    elif kind == 2:
        mask = ndimage.gaussian_filter(rng.normal(size=shape), 1.2) > 0.25
    else:
        mask = rng.random(shape) < 0.02
        mask = (
            ndimage.binary_dilation(mask, iterations=int(rng.integers(0, 3)))
            if mask.any()
            else mask
        )
    if not mask.any():
        mask[tuple(rng.integers(0, shape))] = True
    return mask


def _pair(seed: int) -> tuple[Mask, Mask, tuple[float, ...]]:
    """Found, truth and spacing of a case; every tenth has a mask of one voxel."""
    rng = np.random.default_rng(seed)
    axes = 2 + seed % 2
    shape = tuple(rng.integers(5, 28 if axes == 2 else 15, axes).tolist())
    truth = _blob(rng, shape)
    if seed % 3:
        found = np.roll(truth, rng.integers(-2, 3, axes), tuple(range(axes))) ^ (
            rng.random(shape) < 0.01
        )
    else:
        found = _blob(rng, shape)
    if seed % 10 == 0 or not found.any():
        found = np.zeros(shape, bool)
        found[tuple(rng.integers(0, shape))] = True
    spacing = (1.0,) * axes if seed % 5 == 0 else tuple(rng.uniform(0.4, 4, axes).tolist())
    return found, truth, spacing


@pytest.fixture(scope="session")
def random_pair() -> Pair:
    """Found, truth and spacing by seed."""
    return _pair
