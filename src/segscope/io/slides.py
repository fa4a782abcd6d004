"""Whole-slide files in, through openslide: the most detailed level that one image can hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope._optional import require
from segscope.errors import ReadError
from segscope.geometry import Geometry
from segscope.io.base import ReadOptions, check_declared, suffix_of
from segscope.io.byte_sources import check_file, reading, refuse_options
from segscope.io.frame_source import LazyFrames
from segscope.stack import Stack

MOST_PIXELS = 2**25
"""Pixels of the level that is chosen, at most (about 5,800 x 5,800)."""

_SUFFIXES = (".svs", ".ndpi", ".scn", ".mrxs", ".vms", ".vmu", ".bif", ".svslide")
_WHAT = "a whole slide"


class Slide:
    """A whole slide at the most detailed level with at most `MOST_PIXELS` pixels."""

    name = "whole slide"
    suffixes = _SUFFIXES

    def recognises(self, path: Path) -> bool:
        return path.is_file() and suffix_of(path, _SUFFIXES) is not None

    def read(self, path: Path, options: ReadOptions) -> Stack:
        """Open one level as a image; `meta` says which one and how much smaller than the scan it
        is.

        Raises:
            ReadError: damaged, not a slide, or no level is small enough.
            MissingExtra: openslide is not installed.
        """
        refuse_options(path, options)
        check_file(path)
        openslide = require("openslide", "wsi", "read whole slides")
        with reading(path, _WHAT), openslide.OpenSlide(str(path)) as slide:
            sizes = [(height, width) for width, height in slide.level_dimensions]
            fitting = [
                level
                for level, (rows, columns) in enumerate(sizes)
                if rows * columns <= MOST_PIXELS
            ]
            if not fitting:
                raise ReadError(
                    f"{path}: the smallest level has {sizes[-1][0]} x {sizes[-1][1]} pixels, more than one image can "
                    f"hold here ({MOST_PIXELS:,}); cut out a region or save the slide with more levels"
                )
            level = min(fitting, key=lambda number: -sizes[number][0] * sizes[number][1])
            factor = float(slide.level_downsamples[level])
            meta: dict[str, Any] = {
                "level": level,
                "level_sizes_hw": tuple(sizes),
                "downsample": factor,
                "notes": (),
            }
            pitch = [slide.properties.get(f"openslide.mpp-{axis}") for axis in "yx"]
            background = "#" + slide.properties.get("openslide.background-color", "ffffff")
        if level:
            meta["notes"] = (
                f"level {level} of {len(sizes)} is read, {factor:.4g} times smaller than the scan",
            )
        geometry = _geometry(pitch, factor)
        return Stack(SlideFrame(path, level, sizes[level], background), "image", "microscopy", geometry, None, path,
                     meta=meta)  # fmt: skip


def _geometry(pitch: list[str | None], factor: float) -> Geometry | None:
    try:
        y, x = (float(value or 0) * 1e-3 * factor for value in pitch)
    except ValueError:
        return None
    if np.isfinite([y, x]).all() and min(y, x) > 0:
        return Geometry.from_spacing((1.0, y, x))
    return None


class SlideFrame(LazyFrames):
    """One level of a slide as a `FrameSource` of a single frame (row, column, 3) uint8.

    Args:
        path: the slide.
        level: its number, 0 is the most detailed.
        size_hw: rows and columns of the level.
        background: colour behind what was not scanned, "#rrggbb".
    """

    def __init__(self, path: Path, level: int, size_hw: tuple[int, int], background: str) -> None:
        shape = (1, *size_hw, 3)
        check_declared(path, shape, 1)
        super().__init__(shape, np.dtype(np.uint8))
        self.path = path
        self.level = level
        self._size = size_hw
        self._background = background

    def read_frame(self, index: int) -> NDArray[np.uint8]:  # noqa: ARG002
        openslide = require("openslide", "wsi", "read whole slides")
        from PIL import Image

        with reading(self.path, _WHAT), openslide.OpenSlide(str(self.path)) as slide:
            pixels = slide.read_region((0, 0), self.level, self._size[::-1])
            canvas = Image.new("RGB", pixels.size, self._background)
            canvas.paste(pixels, mask=pixels.getchannel("A"))
            return np.array(canvas)


FORMATS = (Slide(),)
