"""Sliding window: a large image seen through overlapping windows of equal size, whose logits are
blended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

OVERLAP = 0.25
"""Share of a window that overlaps with the next one, at least."""

Pixel = TypeVar("Pixel", bound=np.generic)


def window_share(count: int) -> float:
    """Side of a window as a share of the image's side, for `count` windows along it."""
    if count == 1:
        return 1.0
    return 1 / (count - OVERLAP * (count - 1))


def cut(image: NDArray[Pixel], share: float, at: Sequence[float]) -> NDArray[Pixel]:
    """A window (row, column, ...) of a share of both sides; `at`, from 0 to 1 along each side, is
    its position between the first and the last.
    """
    spans = []
    for length, position in zip(image.shape[:2], at, strict=True):
        side = max(1, round(share * length))
        start = round(float(position) * (length - side))
        spans.append(slice(start, start + side))
    return np.ascontiguousarray(image[spans[0], spans[1]])


def blend(
    rgb: NDArray[np.uint8], count: int, predict: Callable[[NDArray[np.uint8]], Tensor]
) -> Tensor:
    """(channel, row, column) logits of an image from `count` x `count` windows; a window counts
    less towards its edges.
    """
    positions = np.arange(count) / max(count - 1, 1)
    total: Tensor | None = None
    weights: Tensor | None = None
    for at in product(positions.tolist(), repeat=2):
        part = predict(cut(rgb, window_share(count), at))
        height, width = part.shape[-2:]
        y = round(at[0] * (rgb.shape[0] - height))
        x = round(at[1] * (rgb.shape[1] - width))
        weight = _ramp(height, part)[:, None] * _ramp(width, part)
        if total is None or weights is None:
            total = part.new_zeros(len(part), *rgb.shape[:2])
            weights = part.new_zeros(rgb.shape[:2])
        total[:, y : y + height, x : x + width] += weight * part
        weights[y : y + height, x : x + width] += weight
    assert total is not None
    assert weights is not None
    return total / weights


def _ramp(length: int, like: Tensor) -> Tensor:
    """1, 2, ... up to the middle and down again."""
    rise = torch.arange(1, length + 1, device=like.device, dtype=like.dtype)
    return torch.minimum(rise, rise.flip(0))
