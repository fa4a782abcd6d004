"""Whole-slide files in, through openslide: the most detailed level that fits into one image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segscope._optional import require
from segscope.errors import ReadError
from segscope.geometry import Geometry
from segscope.io.base import (
    FileFormat,
    ReadOptions,
    check_declared,
    check_file,
    reading,
    refuse_options,
)
from segscope.io.frame_source import LazyFrames
from segscope.stack import Stack

MOST_PIXELS = 2**25
"""Pixels of the level that is read, at most (about 5,800 x 5,800)."""

_SUFFIXES = (".svs", ".ndpi", ".scn", ".mrxs", ".vms", ".vmu", ".bif", ".svslide")
_WHAT = "a whole slide"


class Slide(FileFormat):
    """A whole slide at the most detailed level with at most `MOST_PIXELS` pixels."""

    name = "whole slide"
    suffixes = _SUFFIXES

    def read(self, path: Path, options: ReadOptions) -> Stack:
        """Open one level as an image; `meta` says which one, and by how much it is downsampled.

        Raises:
            ReadError: damaged, not a slide, or no level is small enough.
            MissingExtra: openslide is not installed.
        """
        refuse_options(path, options)
        check_file(path)
        openslide = require("openslide", "wsi", "read whole slides")
        with reading(path, _WHAT), openslide.OpenSlide(str(path)) as slide:
            sizes = [(height, width) for width, height in slide.level_dimensions]
            level = _select_level(path, sizes)
            downsample = float(slide.level_downsamples[level])
            pixel_size_um = [slide.properties.get(f"openslide.mpp-{axis}") for axis in "yx"]
            background = "#" + slide.properties.get("openslide.background-color", "ffffff")
        notes: tuple[str, ...] = ()
        if level:
            notes = (f"level {level} of {len(sizes)} is read, downsampled {downsample:.4g} times",)
        meta: dict[str, object] = {
            "level": level,
            "level_sizes_hw": tuple(sizes),
            "downsample": downsample,
            "notes": notes,
        }
        frames = SlideFrame(path, level, sizes[level], background)
        geometry = _make_geometry(pixel_size_um, downsample)
        return Stack(frames, "image", "microscopy", geometry, None, path, meta=meta)


def _select_level(path: Path, sizes: Sequence[tuple[int, int]]) -> int:
    """The largest level (rows, columns) that fits."""
    pixels = [rows * columns for rows, columns in sizes]
    fitting = [level for level, count in enumerate(pixels) if count <= MOST_PIXELS]
    if not fitting:
        rows, columns = sizes[-1]
        raise ReadError(
            f"{path}: the smallest level has {rows} x {columns} pixels, more than one image may "
            f"have here ({MOST_PIXELS:,}); crop a region, or save the slide with more levels"
        )
    return max(fitting, key=lambda level: pixels[level])


def _make_geometry(pixel_size_um: Sequence[str | None], downsample: float) -> Geometry | None:
    try:
        y, x = (float(value or 0) * 1e-3 * downsample for value in pixel_size_um)
    except ValueError:
        return None
    if np.isfinite([y, x]).all() and min(y, x) > 0:
        return Geometry.from_spacing((1.0, y, x))
    return None


class SlideFrame(LazyFrames):
    """One level of a slide: a single frame (row, column, 3) uint8.

    Args:
        path: the slide.
        level: its number, 0 is the most detailed.
        size_hw: rows and columns of the level.
        background: colour behind what was not scanned, "#rrggbb".
    """

    def __init__(
        self,
        path: Path,
        level: int,
        size_hw: tuple[int, int],
        background: str,
    ) -> None:
        shape = (1, *size_hw, 3)
        check_declared(path, shape, 1)
        super().__init__(shape, np.dtype(np.uint8))
        self.path = path
        self.level = level
        self._background = background

    def read_frame(self, index: int) -> NDArray[np.uint8]:  # noqa: ARG002 - there is one
        openslide = require("openslide", "wsi", "read whole slides")
        from PIL import Image

        _, rows, columns, _ = self.shape
        with reading(self.path, _WHAT), openslide.OpenSlide(str(self.path)) as slide:
            pixels = slide.read_region((0, 0), self.level, (columns, rows))
            canvas = Image.new("RGB", pixels.size, self._background)
            canvas.paste(pixels, mask=pixels.getchannel("A"))
            return np.array(canvas)


FORMATS = (Slide(),)
