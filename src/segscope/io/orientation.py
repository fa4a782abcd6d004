"""How stored pixels are shown: EXIF and TIFF orientations, and print colours as RGB."""

from __future__ import annotations

import numpy as np

from segscope.arrays import Pixels

ORIENTATION_TAG = 274
SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that swap rows and columns."""

CMYK_NOTE = "print colours (CMYK) are shown as RGB without their colour profile"


def cmyk_to_rgb(pixels: Pixels) -> Pixels:
    """Print colours (row, column, 4) uint8 as RGB, without a colour profile."""
    from PIL import Image

    return np.array(Image.fromarray(np.ascontiguousarray(pixels), "CMYK").convert("RGB"))


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Stored pixels (row, column, ...) as EXIF `orientation` 1 to 8 says they are shown."""
    if orientation in SIDEWAYS:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def turn_as_stored(pixels: Pixels, orientation: int) -> Pixels:
    """The inverse of `turn_upright`."""
    inverse = {6: 8, 8: 6}
    return turn_upright(pixels, inverse.get(orientation, orientation))
