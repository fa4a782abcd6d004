"""Generated microscopy: bright round cells, some of which touch, and dark oblong ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


@dataclass(frozen=True, eq=False)
class CellImage:
    """An image and its cells.

    Attributes:
        rgb: (row, column, 3) uint8.
        labels: (row, column) 0 or the number of a cell, from 1.
        round_cells, oblong_cells: numbers of either kind.
    """

    rgb: NDArray[np.uint8]
    labels: NDArray[np.int32]
    round_cells: tuple[int, ...]
    oblong_cells: tuple[int, ...]

    def mask(self, number: int) -> NDArray[np.bool_]:
        return self.labels == number


def draw_cells(seed: int = 0, side: int = 160, spacing: int = 32) -> CellImage:
    """Cells of about 20 pixels on a jittered grid, every third one oblong and dark."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] + 0.5
    labels = np.zeros((side, side), np.int32)
    level = np.full((side, side), 90.0)
    kinds: tuple[list[int], list[int]] = ([], [])
    places = [
        (row, column)
        for row in range(spacing // 2, side, spacing)
        for column in range(spacing // 2, side, spacing)
    ]
    for number, place in enumerate(places, start=1):
        row, column = place + rng.uniform(-4, 4, 2)
        oblong = number % 3 == 0
        turn = rng.uniform(0, np.pi)
        along = (x - column) * np.cos(turn) + (y - row) * np.sin(turn)
        across = (y - row) * np.cos(turn) - (x - column) * np.sin(turn)
        half_along = rng.uniform(9, 11)
        half_across = half_along / 2 if oblong else half_along * rng.uniform(0.85, 1.0)
        inside = (along / half_along) ** 2 + (across / half_across) ** 2 < 1
        inside &= labels == 0
        labels[inside] = number
        level[inside] = rng.uniform(25, 40) if oblong else rng.uniform(150, 190)
        kinds[oblong].append(number)
    level = ndimage.gaussian_filter(level, 0.8) + rng.normal(0, 6, level.shape)
    grey = level.clip(0, 255).astype(np.uint8)
    return CellImage(np.repeat(grey[..., None], 3, -1), labels, tuple(kinds[0]), tuple(kinds[1]))
