"""Masks that are easy to get wrong, (frame, row, column)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Masks = NDArray[np.bool_]


def disc(size_hw: tuple[int, int], y: float, x: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def _pixel() -> Masks:
    mask = np.zeros((1, 9, 14), bool)
    mask[0, 8, 0] = True
    return mask


def _volume() -> Masks:
    return (
        np.stack([disc((30, 40), 14, 18, radius) for radius in (0, 3, 6, 9, 7, 4)])
        & (np.arange(6) > 0)[:, None, None]
    )


def _parts() -> Masks:
    return (disc((40, 50), 8, 8, 6) | disc((40, 50), 25, 35, 12) | disc((40, 50), 34, 5, 2))[None]


OBJECTS: dict[str, Masks] = {
    "pixel": _pixel(),
    "corner": disc((30, 40), 29, 0, 12)[None],
    "whole frame": np.ones((1, 12, 17), bool),
    "ring": (disc((60, 50), 30, 25, 20) & ~disc((60, 50), 30, 25, 15))[None],
    "line": np.eye(20, dtype=bool)[None],
    "parts": _parts(),
    "volume": _volume(),
    "one slice": _volume()[3:4],
}
