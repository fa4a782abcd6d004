"""Tiles: a large image seen through overlapping windows of equal size, whose answers are blended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

OVERLAP = 0.25
"""Share of a window that the next one sees as well, at least."""


def share(count: int) -> float:
    """Side of a window as a share of the image's side, for `count` windows along it."""
    if count == 1:
        return 1.0
    return 1 / (count - OVERLAP * (count - 1))


def cut(image: NDArray[Any], share: float, at: Sequence[float]) -> NDArray[Any]:
    """A window (row, column, ...) of a share of both sides; `at` from 0 to 1 moves it from first to
    last place.
    """
    spans = []
    for length, place in zip(image.shape[:2], at, strict=True):
        side = max(1, round(share * length))
        start = round(float(place) * (length - side))
        spans.append(slice(start, start + side))
    return np.ascontiguousarray(image[spans[0], spans[1]])


def blend(
    rgb: NDArray[np.uint8], count: int, predict: Callable[[NDArray[np.uint8]], Tensor]
) -> Tensor:
    """(channel, row, column) logits of a image from `count` x `count` windows; a window counts
    less near its edge.
    """
    total: Tensor | None = None
    weights: Tensor | None = None
    for place in ((down, across) for down in range(count) for across in range(count)):
        at = [step / max(count - 1, 1) for step in place]
        part = predict(cut(rgb, share(count), at))
        height, width = part.shape[-2:]
        y, x = (round(at[k] * (rgb.shape[k] - (height, width)[k])) for k in range(2))
        rise = [
            torch.minimum(line, line.flip(0)) for line in (_line(height, part), _line(width, part))
        ]
        weight = rise[0][:, None] * rise[1]
        if total is None or weights is None:
            total = part.new_zeros(len(part), *rgb.shape[:2])
            weights = part.new_zeros(rgb.shape[:2])
        total[:, y : y + height, x : x + width] += weight * part
        weights[y : y + height, x : x + width] += weight
    assert total is not None
    assert weights is not None
    return total / weights


def _line(length: int, like: Tensor) -> Tensor:
    return torch.arange(1, length + 1, device=like.device, dtype=like.dtype)
