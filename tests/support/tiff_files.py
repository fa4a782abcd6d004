"""Small TIFF files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile

RANDOM = np.random.default_rng(0)


TCZYX = RANDOM.integers(0, 4000, (3, 2, 4, 20, 30)).astype(np.uint16)


ZYX, TYX, CYX, YX = TCZYX[0, 0], TCZYX[:, 0, 0], TCZYX[0, :, 0], TCZYX[0, 0, 0]


RGB = RANDOM.integers(0, 256, (20, 30, 3)).astype(np.uint8)


def make(path: Path, data: np.ndarray, axes: str | None = None, **options: Any) -> Path:
    metadata = options.pop("metadata", {})
    if axes:
        metadata = {"axes": axes, **metadata}
    options.setdefault("photometric", "minisblack")
    tifffile.imwrite(path, data, metadata=metadata or None, **options)
    return path


def whole(stack: Any) -> np.ndarray:
    return np.stack([stack[index] for index in range(len(stack))])
