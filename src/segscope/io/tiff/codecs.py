"""Which library decodes the pages of a TIFF: tifffile, or Pillow where tifffile lacks the codec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from segscope._optional import require
from segscope.arrays import Pixels
from segscope.io.orientation import ORIENTATION_TAG, turn_as_stored

TiffPage = Any

YCBCR = 6
_JPEG = 7
_PILLOW_CODECS = (2, 3, 4, 5, 6, 7, 32773)
_UNPACKED_BITS = (1, 8, 16, 32, 64)
"""Bits of a value that tifffile unpacks by itself."""


def needs_pillow(path: Path, page: TiffPage) -> bool:
    """Whether Pillow decodes the pages, because tifffile alone cannot.

    Raises:
        MissingExtra: neither can.
    """
    if not _has_decoder(page):
        if _is_in_reach_of_pillow(page):
            return True
        name = getattr(page.compression, "name", page.compression)
        require("imagecodecs", "tiff-codecs", f"read {path}, which is compressed with {name}")
    if page.bitspersample not in _UNPACKED_BITS:
        bits = page.bitspersample
        require("imagecodecs", "tiff-codecs", f"read {path}, which stores {bits} bits a value")
    return (page.compression, page.photometric) == (_JPEG, YCBCR)


def decode_by_pillow(path: Path, page: int) -> Pixels:
    """Pixels (row, column[, sample]) of a page as they are stored; samples come last, however they
    are stored.
    """
    from PIL import TiffImagePlugin

    with TiffImagePlugin.TiffImageFile(path) as image:
        image.seek(page)
        orientation = image.tag_v2.get(ORIENTATION_TAG, 1)
        image.load()
        pixels = np.array(image)
        is_upright = ORIENTATION_TAG not in image.tag_v2
    # Pillow turns what it decodes upright, and then drops the tag
    if is_upright and orientation in range(2, 9):
        pixels = turn_as_stored(pixels, orientation)
    return pixels


def _has_decoder(page: TiffPage) -> bool:
    import tifffile

    try:
        decoder = tifffile.TIFF.DECOMPRESSORS[page.compression]
        tifffile.TIFF.UNPREDICTORS[page.predictor]
        # some decoders import their library only when they run, so this one gets nothing to decode
        decoder(b"")
    except (KeyError, ValueError, ImportError):
        return False
    except Exception:  # nothing is no image: the decoder is there
        return True
    return True


def _is_in_reach_of_pillow(page: TiffPage) -> bool:
    is_simple = page.samplesperpixel == 1 or page.dtype == np.uint8
    is_short = page.dtype.kind in "bu" and page.dtype.itemsize <= 2
    return is_simple and is_short and int(page.compression) in _PILLOW_CODECS
