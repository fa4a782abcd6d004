"""Rendered frames as PNG, JPEG or WebP files."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segscope.errors import UsageError

MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
_OPTIONS: dict[str, dict[str, int]] = {
    "png": {"compress_level": 1},  # fast: the network to a browser is rarely the bottleneck
    "jpeg": {"quality": 92},
    "webp": {"quality": 90, "method": 0},
}


def encode_image(rgb: NDArray[np.uint8], file_format: str) -> bytes:
    """An image (row, column, 3) as a file; grey images are stored with one channel."""
    if file_format not in MEDIA_TYPES:
        known = ", ".join(MEDIA_TYPES)
        raise UsageError(f"unknown image format {file_format!r}; choose one of {known}")
    pixels = rgb
    if _is_grey(rgb):
        pixels = np.ascontiguousarray(rgb[..., 0])
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, file_format.upper(), **_OPTIONS[file_format])
    return file.getvalue()


def encode_thumbnail(rgb: NDArray[np.uint8], size: int) -> bytes:
    """A PNG of at most `size` pixels on each side."""
    image = Image.fromarray(rgb)
    image.thumbnail((size, size))
    return encode_image(np.asarray(image), "png")


def _is_grey(rgb: NDArray[np.uint8]) -> bool:
    if rgb.ndim != 3:
        return False
    red = rgb[..., 0]
    return np.array_equal(red, rgb[..., 1]) and np.array_equal(red, rgb[..., 2])
