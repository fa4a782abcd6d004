"""Pages of a TIFF as frames, decoded when asked for."""

from __future__ import annotations

import os
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segscope._optional import require
from segscope.arrays import Pixels, PixelType
from segscope.errors import ReadError
from segscope.io.base import reading
from segscope.io.frame_source import LazyFrames
from segscope.stack import Kind

TiffPage = Any
TiffFile = Any
"""tifffile's objects, which are imported late and have no complete type hints."""

WHITE_IS_ZERO = 0
BLACK_IS_ZERO = 1
RGB = 2
PALETTE = 3
YCBCR = 6

_JPEG = 7
_PILLOW_CODECS = (2, 3, 4, 5, 6, 7, 32773)
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
    """Size of one page."""

    rows: int
    columns: int
    samples: int


@dataclass(frozen=True)
class PageDecoder:
    """How the pixels of a page become those of a frame.

    Attributes:
        by_pillow: Pillow decodes it, not tifffile.
        is_planar: samples are the first axis.
        has_alpha: the last sample is transparency.
        is_inverted: 0 is white, and the decoder does not turn it round.
        colormap: (colour, value) uint16 of a palette, or None.
    """

    by_pillow: bool
    is_planar: bool
    has_alpha: bool
    is_inverted: bool
    colormap: Pixels | None

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
        by_pillow = _needs_pillow(path, page)
        has_alpha = bool(page.extrasamples) and int(page.extrasamples[-1]) in _ALPHA_KINDS
        colormap = None
        if photometric == PALETTE and not as_stored:
            colormap = np.asarray(page.colormap)
        return cls(
            by_pillow=by_pillow,
            is_planar=page.axes == "SYX",
            has_alpha=has_alpha and size.samples in (2, 4),
            # Pillow turns brightness round by itself, tifffile never does
            is_inverted=photometric == WHITE_IS_ZERO and by_pillow == as_stored,
            colormap=colormap,
        )

    def frame_type(self, stored: PixelType) -> PixelType:
        """Type of the decoded pixels."""
        if self.colormap is not None or stored.kind == "b":
            return np.dtype(np.uint8)
        if stored == np.float16:
            return np.dtype(np.float32)
        return stored.newbyteorder("=")

    def depth(self, size: PageSize, layout: PageLayout) -> int:
        """Channels of a frame."""
        if layout.sample is not None:
            return 1
        if self.colormap is not None:
            return 3
        if size.samples == 1:
            return layout.channels
        return size.samples - self.has_alpha

    def apply(self, plane: Pixels, sample: int | None, dtype: PixelType) -> Pixels:
        """Decoded pixels of a page as they are shown, in the type of the frame."""
        if self.is_planar:
            plane = np.moveaxis(plane, 0, -1)
        if self.is_inverted and plane.dtype.kind in "bu":
            plane = ~plane
        if self.colormap is not None:
            return (self.colormap[:, plane] >> 8).astype(np.uint8).transpose(1, 2, 0)
        if sample is not None:
            plane = plane[..., sample]
        elif self.has_alpha:
            plane = plane[..., :-1]
            if plane.shape[-1] == 1:
                plane = plane[..., 0]
        if plane.dtype == bool:
            return plane.astype(np.uint8) * np.uint8(255)
        return plane.astype(dtype, copy=False)


class TiffFrames(LazyFrames):
    """Frames of one image of a TIFF; the file stays open for reading, once per process.

    Args:
        path: the file.
        series: number of the image in it.
        page: one of its pages, which stands for all.
        size: of a page.
        layout: which page is which frame.
        as_stored: give the stored numbers, whatever brightness or colour they are shown with.
    """

    def __init__(
        self,
        path: Path,
        series: int,
        page: TiffPage,
        size: PageSize,
        layout: PageLayout,
        *,
        as_stored: bool,
    ) -> None:
        self._path = path
        self._series = series
        self._layout = layout
        self._decoder = PageDecoder.of(path, page, size, as_stored=as_stored)
        self._lock = threading.Lock()
        self._tif: TiffFile = None
        self._owner = 0
        shape: tuple[int, ...] = (layout.frames, size.rows, size.columns)
        depth = self._decoder.depth(size, layout)
        if depth > 1:
            shape = (*shape, depth)
        super().__init__(shape, self._decoder.frame_type(page.dtype))

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
        return self._decoder.apply(self._decode(number), self._layout.sample, self.dtype)

    def _decode(self, number: int) -> Pixels:
        tif = self._open_file()
        series = tif.series[self._series]
        keyframe = series.keyframe
        plane: Pixels
        # ImageJ: one page describes all the others, whose data follow without pages
        if series.dataoffset is not None and len(series.pages) <= number:
            handle = tif.filehandle
            handle.seek(series.dataoffset + number * keyframe.nbytes)
            stored = keyframe.dtype.newbyteorder(tif.byteorder)
            plane = handle.read_array(stored, keyframe.size).reshape(keyframe.shape)
        elif self._decoder.by_pillow:
            plane = _decode_by_pillow(self._path, series.pages[number].index)
        else:
            plane = series.pages[number].asarray()
        return plane

    def _open_file(self) -> TiffFile:
        # a forked worker must not share the file position
        if self._tif is None or self._owner != os.getpid():
            import tifffile

            self._tif = tifffile.TiffFile(self._path, _multifile=False)
            self._owner = os.getpid()
            weakref.finalize(self, self._tif.close)
        return self._tif


def _needs_pillow(path: Path, page: TiffPage) -> bool:
    """Whether tifffile lacks the decoder and Pillow's libtiff has it; refuses where neither can."""
    import tifffile

    try:
        tifffile.TIFF.DECOMPRESSORS[page.compression]  # raises for what is not installed
        tifffile.TIFF.UNPREDICTORS[page.predictor]
        return (page.compression, page.photometric) == (_JPEG, YCBCR)
    except (KeyError, ValueError):
        is_simple = page.samplesperpixel == 1 or page.dtype == np.uint8
        is_short = page.dtype.kind in "bu" and page.dtype.itemsize <= 2
        if is_simple and is_short and int(page.compression) in _PILLOW_CODECS:
            return True
    name = getattr(page.compression, "name", page.compression)
    require("imagecodecs", "tiff-codecs", f"read {path}, which is compressed with {name}")
    return False


def _decode_by_pillow(path: Path, page: int) -> Pixels:
    from PIL import Image

    with Image.open(path, formats=("TIFF",)) as image:
        image.seek(page)
        return np.array(image)
