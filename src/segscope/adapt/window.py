"""Window: the part of a frame that a network which zooms is shown, chosen as prediction chooses it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FACTOR = 1.8  # side of the window in longer sides of a box, at inference
FACTORS = (
    1.4,
    2.3,
)  # the same while training: people draw boxes loosely, and corrections see other windows
SHARES = (1.0, 0.5, 0.25, 0.125)  # of the frame's sides, for clicks
CLIP = (2.0, 3.2)  # for clips: tracking leaves room to move
LEAST = 16

Window = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels of the frame, half-open."""


def whole(size_hw: Sequence[int]) -> Window:
    return 0, 0, int(size_hw[1]), int(size_hw[0])


def around(xyxy: Sequence[float], size_hw: Sequence[int], factor: float = FACTOR) -> Window:
    """A square of `factor` times the longer side of a box, inside the frame as far as there is one."""
    x0, y0, x1, y1 = xyxy
    side = max(factor * max(x1 - x0, y1 - y0), LEAST)
    return _centred((x0 + x1) / 2, (y0 + y1) / 2, side, side, size_hw)


def at(x: float, y: float, share: float, size_hw: Sequence[int]) -> Window:
    """A window of the frame's shape and `share` of its sides around a point."""
    return _centred(x, y, max(share * size_hw[1], LEAST), max(share * size_hw[0], LEAST), size_hw)


def _centred(x: float, y: float, wide: float, high: float, size_hw: Sequence[int]) -> Window:
    spans = []
    for middle, length, limit in ((x, wide, size_hw[1]), (y, high, size_hw[0])):
        side = min(math.ceil(length), limit)
        start = min(max(round(middle - side / 2), 0), limit - side)
        spans.append((int(start), int(start + side)))
    return spans[0][0], spans[1][0], spans[0][1], spans[1][1]


def cut(frames: NDArray[Any], window: Window) -> NDArray[Any]:
    """(..., row, column) within a window; for images pass the axes of rows and columns last."""
    x0, y0, x1, y1 = window
    return frames[..., y0:y1, x0:x1]


def cut_rgb(frames: NDArray[np.uint8], window: Window) -> NDArray[np.uint8]:
    """(frame, row, column, 3) within a window."""
    x0, y0, x1, y1 = window
    return np.ascontiguousarray(frames[:, y0:y1, x0:x1])
