"""TIFF, TIFF stacks, ImageJ hyperstacks and OME-TIFF: axes are honoured or refused, pages are read
when asked for.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope._optional import require
from segscope.errors import ReadError, UsageError
from segscope.geometry import Geometry
from segscope.io.base import ReadOptions, check_declared, suffix_of
from segscope.io.byte_sources import check_file, choose, reading, refuse_options
from segscope.io.frame_source import LazyFrames
from segscope.io.tiff.scale import Scale, scale_of
from segscope.stack import Kind, Stack

SUFFIXES = (".tif", ".tiff", ".btf", ".tf8", ".lsm")
_WHAT = "a TIFF file"
_UPRIGHT = 1
_WHITE_IS_ZERO = 0
_BLACK_IS_ZERO = 1
_RGB = 2
_PALETTE = 3
_YCBCR = 6


class Tiff:
    """Reads page by page. T is time, Z or unnamed pages are slices, C and S are channels; anything
    else is refused.
    """

    name = "TIFF"
    suffixes = SUFFIXES

    def recognises(self, path: Path) -> bool:
        return path.is_file() and suffix_of(path, SUFFIXES) is not None

    def read(self, path: Path, options: ReadOptions) -> Stack:
        with reading(path, _WHAT):
            check_file(path)
            return _read(path, options)


def read_labels(path: Path) -> Stack:
    """The numbers that a TIFF stores, whatever brightness or colour they are shown with.

    Programs that write masks let 0 mean white, or give labels a palette, for the eye alone.
    """
    with reading(path, _WHAT):
        check_file(path)
        return _read(path, ReadOptions(), as_stored=True)


@dataclass(frozen=True)
class _Layout:
    """Which page is which frame: page = first + frame * frame_step + channel * channel_step."""

    kind: Kind
    frames: int
    frame_step: int
    first: int
    channels: int
    channel_step: int
    samples: tuple[int, int] | None  # pick of the sample axis: (first, count); None for all


def _read(path: Path, options: ReadOptions, *, as_stored: bool = False) -> Stack:
    with _opened(path) as tif:
        number = _series_number(path, tif, options)
        series = tif.series[number]
        page = series.keyframe
        _check_page(path, page)
        lead, size = _split_axes(path, series, page)
        check_declared(path, (_count(lead), *size), series.dtype.itemsize)
        _check_pages(path, tif, series, _count(lead))
        scale = scale_of(tif, series, number)
        notes: list[str] = []
        layout = _layout(path, lead, size[2], options, notes)
        frames = TiffFrames(path, number, layout, page, size, as_stored=as_stored)
    times = None
    if layout.kind == "video":
        times = scale.times(layout.frames)
    meta: dict[str, Any] = {"axes": series.axes, **scale.meta}
    geometry = _geometry(scale, layout.kind, meta, notes)
    if notes:
        meta["notes"] = tuple(notes)
    return Stack(frames, layout.kind, None, geometry, times, path, meta=meta)


class _Complaints(logging.Handler):
    """Collects what tifffile only logs: pages that it leaves out because the file is damaged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        self.thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread:
            self.messages.append(record.getMessage())


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import tifffile

    complaints = _Complaints()
    logger = logging.getLogger("tifffile")
    logger.addHandler(complaints)
    propagates = logger.propagate
    logger.propagate = False
    try:
        with tifffile.TiffFile(path, _multifile=False) as tif:
            description = ""
            if len(tif.pages):
                description = str(getattr(tif.pages[0], "description", ""))
            if "<!DOCTYPE" in description or "<!ENTITY" in description:
                raise ReadError(
                    f"{path} has an OME description with entities of its own, which no microscope writes"
                )
            if description.count("FileName=") and _files_named(description) > 1:
                raise ReadError(
                    f"{path} is one part of an OME-TIFF over several files; join them into one file first"
                )
            ome = tif.is_ome
            kind = ""
            if tif.series:
                kind = tif.series[0].kind
            if complaints.messages:
                raise ReadError(
                    f"{path} is damaged or cut off: {' '.join(complaints.messages[0].split())[:200]}. "
                    "Copy or export it again."
                )
            if ome and kind != "ome":
                raise ReadError(
                    f"{path} has an OME description that cannot be used; export it again"
                )
            yield tif
    finally:
        logger.removeHandler(complaints)
        logger.propagate = propagates


def _files_named(description: str) -> int:
    return len(set(re.findall(r'FileName="([^"]*)"', description)))


def _series_number(path: Path, tif: Any, options: ReadOptions) -> int:
    count = len(tif.series)
    if not count:
        raise ReadError(f"{path} holds no image; it is damaged or cut off")
    if options.series is None and count == 1:
        return 0
    listing = "; ".join(
        f"{i + 1}: {entry.shape} {entry.axes}" for i, entry in enumerate(tif.series[:12])
    )
    if options.series is None:
        raise UsageError(
            f"{path} holds {count} different images; choose one with the option series: {listing}"
        )
    if not (options.series.isdecimal() and 1 <= int(options.series) <= count):
        raise UsageError(f"{path} has no series {options.series!r}; its images are {listing}")
    return int(options.series) - 1


def _check_page(path: Path, page: Any) -> None:
    if page.dtype is None or page.dtype.kind not in "buif" or page.dtype.itemsize > 8:
        raise ReadError(f"{path} holds values of type {page.dtype}; wanted whole or real numbers")
    if int(page.photometric) not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR):
        name = getattr(page.photometric, "name", page.photometric)
        raise ReadError(f"{path} stores its colours as {name}; save it as RGB or grey first")
    orientation = page.tags.get("Orientation")
    if orientation is not None and int(orientation.value) not in (0, _UPRIGHT):
        raise ReadError(
            f"{path} is stored turned or mirrored (orientation {orientation.value}); save it upright first"
        )


def _split_axes(
    path: Path, series: Any, page: Any
) -> tuple[list[tuple[str, int]], tuple[int, int, int]]:
    """Axes before the page with their lengths, and (rows, columns, samples) of a page."""
    axes = series.axes
    shape = series.shape
    tail = page.axes
    if tail not in ("YX", "YXS", "SYX") or not axes.endswith(tail):
        raise ReadError(
            f"{path} has the axes {axes} of {shape} with pages {tail}; wanted pages of rows and columns (YX). "
            "Save it as an ImageJ or OME-TIFF stack."
        )
    lead = list(zip(axes[: -len(tail)], shape[: -len(tail)], strict=True))
    sizes = dict(zip(tail, page.shape, strict=True))
    return lead, (sizes["Y"], sizes["X"], sizes.get("S", 1))


def _count(lead: list[tuple[str, int]]) -> int:
    return int(np.prod([length for _, length in lead], dtype=np.int64))


def _check_pages(path: Path, tif: Any, series: Any, count: int) -> None:
    """Every page is there, and its data lie inside the file."""
    size = tif.filehandle.size
    if series.dataoffset is not None:
        wanted = series.dataoffset + count * series.keyframe.nbytes
        if wanted > size:
            raise ReadError(
                f"{path} is cut off: {wanted} bytes are needed, it has {size}. Copy or export it again."
            )
        return
    if len(series.pages) != count:
        raise ReadError(
            f"{path} declares {count} pages and holds {len(series.pages)}; it is cut off or damaged"
        )
    for number, page in enumerate(series.pages):
        if page is None:
            raise ReadError(
                f"{path} lacks page {number} of {count}; it is cut off, or a part of several files"
            )
        ends = [
            offset + length
            for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True)
        ]
        if not ends or min(page.databytecounts) <= 0 or max(ends) > size:
            raise ReadError(
                f"{path} is cut off or damaged: the data of page {number} are not all in the file"
            )


def _layout(
    path: Path, lead: list[tuple[str, int]], samples: int, options: ReadOptions, notes: list[str]
) -> _Layout:
    if lead:
        steps = np.cumprod([1, *[length for _, length in lead[:0:-1]]])[::-1].tolist()
    else:
        steps = []
    long = [
        (letter, length, step)
        for (letter, length), step in zip(lead, steps, strict=True)
        if length > 1
    ]
    letters = "".join(letter for letter, _, _ in long)
    named = {letter: (length, step) for letter, length, step in long}
    unnamed = [letter for letter in letters if letter not in "TZC"]
    if len(unnamed) > 1 or (unnamed and ("Z" in named or "T" in named)):
        listing = ", ".join(f"{letter} {length}" for letter, length in lead)
        raise ReadError(
            f"{path} has pages along {listing}, and not all of these axes have a known meaning; wanted T (time), Z "
            "(slices), C (channels). Save it as an ImageJ hyperstack or OME-TIFF with these axes."
        )
    if unnamed:
        notes.append("the file does not name the axis of its pages; they are taken as slices")
        named["Z"] = named.pop(unnamed[0])
    times, time_step = named.get("T", (1, 0))
    slices, slice_step = named.get("Z", (1, 0))
    channels, channel_step = named.get("C", (1, 0))
    refuse_options(path, options, "series", *(["channel"] if max(channels, samples) > 1 else []),
                   *(["volume"] if times > 1 else []))  # fmt: skip
    first = 0
    picked = None
    if options.channel is not None and channels > 1:
        first += choose(path, options.channel, channels, "channels", "channel") * channel_step
        channels = 1
    elif options.channel is not None and samples > 1:
        picked = (choose(path, options.channel, samples, "channels", "channel"), 1)
    elif channels > 1 and samples > 1:
        raise UsageError(
            f"{path} holds {channels} channels of {samples} colours each; choose one with option channel"
        )
    if times > 1 and slices == 1 and options.volume is None:
        return _Layout("video", times, time_step, first, channels, channel_step, picked)
    first += choose(path, options.volume, times, "time points", "volume") * time_step
    kind: Kind = "volume" if slices > 1 else "image"
    return _Layout(kind, slices, slice_step, first, channels, channel_step, picked)


def _geometry(scale: Scale, kind: Kind, meta: dict[str, Any], notes: list[str]) -> Geometry | None:
    if scale.yx_mm is None:
        return None
    meta["pixel_size_yx_mm"] = scale.yx_mm
    if scale.z_mm is None and kind == "volume":
        notes.append("the file states the size of its pixels but not the distance of its slices")
        return None
    return Geometry.from_spacing((scale.z_mm or 1.0, *scale.yx_mm))


class TiffFrames(LazyFrames):
    """Pages of a TIFF as frames (a FrameSource); the file stays open for reading, once a process."""

    def __init__(
        self,
        path: Path,
        number: int,
        layout: _Layout,
        page: Any,
        size: tuple[int, int, int],
        *,
        as_stored: bool,
    ) -> None:
        self._path = path
        self._number = number
        self._layout = layout
        self._photometric = int(page.photometric)
        self._planar = page.axes == "SYX"
        self._alpha = (
            bool(page.extrasamples) and int(page.extrasamples[-1]) in (1, 2) and size[2] in (2, 4)
        )
        self._colormap = (
            None if self._photometric != _PALETTE or as_stored else np.asarray(page.colormap)
        )
        self._pillow = _needs_pillow(path, page)
        # Pillow turns brightness round by itself, tifffile never does
        self._turned = self._photometric == _WHITE_IS_ZERO and self._pillow == as_stored
        self._lock = threading.Lock()
        self._tif: Any = None
        self._owner = 0
        rows, columns, samples = size
        if samples == 1:
            depth = layout.channels
        else:
            depth = samples - self._alpha
        if layout.samples:
            depth = 1
        elif self._colormap is not None:
            depth = 3
        shape: tuple[int, ...] = (layout.frames, rows, columns)
        if depth > 1:
            shape = (*shape, depth)
        super().__init__(shape, _shown_type(page.dtype, self._colormap is not None))

    def read_frame(self, index: int) -> NDArray[Any]:
        layout = self._layout
        first = layout.first + index * layout.frame_step
        with self._lock, reading(self._path, _WHAT):
            planes = [
                self._plane(first + number * layout.channel_step)
                for number in range(layout.channels)
            ]
            if len(planes) == 1:
                frame = planes[0]
            else:
                frame = np.stack(planes, axis=-1)
            if frame.shape != self._shape[1:]:
                raise ReadError(
                    f"{self._path} has a page of {frame.shape} where {self._shape[1:]} is declared"
                )
            return np.ascontiguousarray(frame)

    def _plane(self, number: int) -> NDArray[Any]:
        series = self._file().series[self._number]
        keyframe = series.keyframe
        if (
            series.dataoffset is not None and len(series.pages) <= number
        ):  # ImageJ: one page describes all the others
            handle = self._file().filehandle
            handle.seek(series.dataoffset + number * keyframe.nbytes)
            stored = keyframe.dtype.newbyteorder(self._file().byteorder)
            plane = handle.read_array(stored, keyframe.size).reshape(keyframe.shape)
        elif self._pillow:
            plane = _by_pillow(self._path, series.pages[number].index)
        else:
            plane = series.pages[number].asarray()
        if self._planar:
            plane = np.moveaxis(plane, 0, -1)
        return self._shown(plane)

    def _shown(self, plane: NDArray[Any]) -> NDArray[Any]:
        if self._turned and plane.dtype.kind in "bu":
            plane = ~plane
        if self._colormap is not None:
            return (self._colormap[:, plane] >> 8).astype(np.uint8).transpose(1, 2, 0)
        if self._layout.samples:
            plane = plane[..., self._layout.samples[0]]
        elif self._alpha:
            plane = plane[..., :-1]
            if plane.shape[-1] == 1:
                plane = plane[..., 0]
        if plane.dtype == bool:
            return plane.astype(np.uint8) * np.uint8(255)
        return plane.astype(self._dtype, copy=False)

    def _file(self) -> Any:
        if (
            self._tif is None or self._owner != os.getpid()
        ):  # a forked worker must not share the file position
            import tifffile

            self._tif = tifffile.TiffFile(self._path, _multifile=False)
            self._owner = os.getpid()
            weakref.finalize(self, self._tif.close)
        return self._tif


def _shown_type(stored: np.dtype[Any], palette: bool) -> np.dtype[Any]:
    if palette or stored.kind == "b":
        return np.dtype(np.uint8)
    if stored == np.float16:
        return np.dtype(np.float32)
    return stored.newbyteorder("=")


def _needs_pillow(path: Path, page: Any) -> bool:
    """Whether tifffile lacks the decoder and Pillow's libtiff has it; refuses where neither can."""
    import tifffile

    try:
        tifffile.TIFF.DECOMPRESSORS[page.compression]  # raises for what is not installed
        tifffile.TIFF.UNPREDICTORS[page.predictor]
        return bool(page.compression == 7 and page.photometric == _YCBCR)
    except (KeyError, ValueError):
        name = getattr(page.compression, "name", page.compression)
        simple = page.samplesperpixel == 1 or page.dtype == np.uint8
        if (
            simple
            and page.dtype.kind in "bu"
            and page.dtype.itemsize <= 2
            and int(page.compression) in _PILLOW_CODECS
        ):
            return True
    require("imagecodecs", "tiff-codecs", f"read {path}, which is compressed with {name}")
    return False


_PILLOW_CODECS = (2, 3, 4, 5, 6, 7, 32773)


def _by_pillow(path: Path, page: int) -> NDArray[Any]:
    from PIL import Image

    with Image.open(path, formats=("TIFF",)) as image:
        image.seek(page)
        return np.array(image)


FORMATS = (Tiff(),)
