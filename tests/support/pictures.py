"""Pictures as clients of the server send them."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image


def bright_block() -> np.ndarray:
    """(row, column, channel): a block on rows 10 to 29 and columns 20 to 49."""
    pixels = np.random.default_rng(0).integers(0, 60, (64, 96, 3), dtype=np.uint8)
    pixels[10:30, 20:50] += 150
    return pixels


def block_mask() -> np.ndarray:
    """The mask of the block."""
    mask = np.zeros((64, 96), bool)
    mask[10:30, 20:50] = True
    return mask


def encode_picture(pixels: np.ndarray, file_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format)
    return buffer.getvalue()


def to_base64(pixels: np.ndarray, file_format: str = "PNG") -> str:
    return base64.b64encode(encode_picture(pixels, file_format)).decode()


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union."""
    return float((one & other).sum() / (one | other).sum())
