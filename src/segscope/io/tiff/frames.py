"""Pages of a TIFF as frames, decoded when asked for."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from segscope.arrays import Pixels, PixelType
from segscope.errors import ReadError
from segscope.io.base import reading
from segscope.io.frame_source import LazyFrames
from segscope.io.orientation import SIDEWAYS, cmyk_to_rgb, turn_upright
from segscope.io.tiff.codecs import decode_by_pillow, needs_pillow
from segscope.stack import Kind

TiffPage = Any
TiffFile = Any
"""tifffile's objects, which are imported late and have no complete type hints."""

OpenTiff = Callable[[Path], TiffFile]
"""Opens a file as one whose pages are all its own."""

WHITE_IS_ZERO = 0
BLACK_IS_ZERO = 1
RGB = 2
PALETTE = 3
CMYK = 5

_ALPHA_KINDS = (1, 2)  # associated, unassociated


@dataclass(frozen=True)
class PageLayout:
    """Which page is which frame: page = first + frame * frame_step + channel * channel_step.

    Attributes:
        kind: what the frames are.
        frames: how many there are.
        frame_step: pages from one frame to the next.
        first: page of frame 0.
        channels: pages that make one frame.
        channel_step: pages from one channel to the next.
        sample: take only this sample of each pixel; None for all.
    """

    kind: Kind
    frames: int
    frame_step: int
    first: int
    channels: int
    channel_step: int
    sample: int | None = None


@dataclass(frozen=True)
class PageSize:
    """Size of one page as it is stored."""

    rows: int
    columns: int
    samples: int


class PageSource(Protocol):
    """Where the pages of an image lie. They are numbered as its axes run, from 0."""

    def read(self, number: int, *, by_pillow: bool) -> Pixels:
        """Stored pixels of a page: (row, column[, sample]), or (sample, row, column)."""
        ...


class SeriesPages:
    """Pages of one image of a file, which stays open, once per process.

    Args:
        path: the file.
        series: number of the image in it, from 0.
        open_file: opens it.
    """

    def __init__(self, path: Path, series: int, open_file: OpenTiff) -> None:
        self._path = path
        self._series = series
        self._open = open_file
        self._tif: TiffFile = None
        self._owner = 0

    def read(self, number: int, *, by_pillow: bool) -> Pixels:
        tif = self._open_once()
        series = tif.series[self._series]
        keyframe = series.keyframe
        plane: Pixels
        # ImageJ: one page describes all the others, whose data follow without pages
        if series.dataoffset is not None and len(series.pages) <= number:
            handle = tif.filehandle
            handle.seek(series.dataoffset + number * keyframe.nbytes)
            stored = keyframe.dtype.newbyteorder(tif.byteorder)
            plane = handle.read_array(stored, keyframe.size).reshape(keyframe.shape)
        elif by_pillow:
            plane = decode_by_pillow(self._path, series.pages[number].index)
        else:
            plane = series.pages[number].asarray()
        return plane

    def _open_once(self) -> TiffFile:
        # a forked worker must not share the file position
        if self._tif is None or self._owner != os.getpid():
            self._tif = self._open(self._path)
            self._owner = os.getpid()
            weakref.finalize(self, self._tif.close)
        return self._tif


@dataclass(frozen=True)
class PageDecoder:
    """How the pixels of a page become those of a frame.

    Attributes:
        by_pillow: Pillow decodes it, not tifffile.
        is_planar: samples are the first axis of what the decoder gives.
        has_alpha: the last sample is transparency.
        is_inverted: 0 is white, and the decoder does not turn it round.
        is_cmyk: the samples are print colours, to be shown as RGB.
        colormap: (colour, value) uint16 of a palette, or None.
        orientation: EXIF orientation, 1 to 8.
    """

    by_pillow: bool
    is_planar: bool
    has_alpha: bool
    is_inverted: bool
    is_cmyk: bool
    colormap: Pixels | None
    orientation: int

    @classmethod
    def of(
        cls,
        path: Path,
        page: TiffPage,
        size: PageSize,
        *,
        as_stored: bool,
    ) -> PageDecoder:
        """The decoder of a page; `as_stored` gives the stored numbers, as label files need them."""
        photometric = int(page.photometric)
        by_pillow = needs_pillow(path, page)
        has_alpha = bool(page.extrasamples) and int(page.extrasamples[-1]) in _ALPHA_KINDS
        colormap = None
        if photometric == PALETTE and not as_stored:
            colormap = np.asarray(page.colormap)
        return cls(
            by_pillow=by_pillow,
            is_planar=page.axes == "SYX" and not by_pillow,
            has_alpha=has_alpha and size.samples in (2, 4),
            # Pillow turns brightness round by itself, tifffile never does
            is_inverted=photometric == WHITE_IS_ZERO and by_pillow == as_stored,
            is_cmyk=photometric == CMYK,
            colormap=colormap,
            orientation=read_orientation(page),
        )

    def frame_type(self, stored: PixelType) -> PixelType:
        """Type of the decoded pixels."""
        if self.colormap is not None or stored.kind == "b":
            return np.dtype(np.uint8)
        if stored == np.float16:
            return np.dtype(np.float32)
        return stored.newbyteorder("=")

    def frame_shape(self, size: PageSize, layout: PageLayout) -> tuple[int, ...]:
        """(row, column[, channel]) of a frame."""
        shape: tuple[int, ...] = (size.rows, size.columns)
        if self.orientation in SIDEWAYS:
            shape = (size.columns, size.rows)
        depth = self._depth(size, layout)
        if depth > 1:
            shape = (*shape, depth)
        return shape

    def _depth(self, size: PageSize, layout: PageLayout) -> int:
        if layout.sample is not None:
            return 1
        if self.colormap is not None or self.is_cmyk:
            return 3
        if size.samples == 1:
            return layout.channels
        return size.samples - self.has_alpha

    def apply(self, plane: Pixels, sample: int | None, dtype: PixelType) -> Pixels:
        """Decoded pixels of a page as they are shown, in the type of the frame."""
        if self.is_planar:
            plane = np.moveaxis(plane, 0, -1)
        plane = turn_upright(plane, self.orientation)
        if self.is_inverted and plane.dtype.kind in "bu":
            plane = ~plane
        if self.colormap is not None:
            return (self.colormap[:, plane] >> 8).astype(np.uint8).transpose(1, 2, 0)
        if self.is_cmyk:
            plane = cmyk_to_rgb(plane)
        if sample is not None:
            plane = plane[..., sample]
        elif self.has_alpha:
            plane = plane[..., :-1]
            if plane.shape[-1] == 1:
                plane = plane[..., 0]
        if plane.dtype == bool:
            return plane.astype(np.uint8) * np.uint8(255)
        return plane.astype(dtype, copy=False)


def read_orientation(page: TiffPage) -> int:
    """EXIF orientation of a page, 1 (upright) where it has none."""
    tag = page.tags.get("Orientation")
    if tag is None or tag.value not in range(1, 9):
        return 1
    return int(tag.value)


class TiffFrames(LazyFrames):
    """Frames of one image of a TIFF.

    Args:
        path: the file.
        pages: its pages.
        decoder: turns a page into pixels as they are shown.
        size: of a page.
        layout: which page is which frame.
        stored: type of the stored values.
    """

    def __init__(
        self,
        path: Path,
        pages: PageSource,
        decoder: PageDecoder,
        size: PageSize,
        layout: PageLayout,
        stored: PixelType,
    ) -> None:
        self._path = path
        self._pages = pages
        self._layout = layout
        self._decoder = decoder
        self._lock = threading.Lock()
        shape = (layout.frames, *decoder.frame_shape(size, layout))
        super().__init__(shape, decoder.frame_type(stored))

    def read_frame(self, index: int) -> Pixels:
        layout = self._layout
        first = layout.first + index * layout.frame_step
        pages = [first + channel * layout.channel_step for channel in range(layout.channels)]
        with self._lock, reading(self._path, "a TIFF file"):
            planes = list(map(self._read_plane, pages))
        frame = planes[0]
        if len(planes) > 1:
            frame = np.stack(planes, axis=-1)
        if frame.shape != self.shape[1:]:
            raise ReadError(
                f"{self._path} has a page of {frame.shape} where {self.shape[1:]} is declared; "
                "it is damaged"
            )
        return np.ascontiguousarray(frame)

    def _read_plane(self, number: int) -> Pixels:
        stored = self._pages.read(number, by_pillow=self._decoder.by_pillow)
        return self._decoder.apply(stored, self._layout.sample, self.dtype)
