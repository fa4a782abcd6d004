"""TIFF, TIFF stacks, ImageJ hyperstacks and OME-TIFF: which page is which frame, or a refusal."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segscope.errors import ReadError, UsageError
from segscope.geometry import Geometry
from segscope.io.base import (
    FileFormat,
    ReadOptions,
    check_declared,
    check_file,
    choose_part,
    reading,
    refuse_options,
)
from segscope.io.tiff.frames import (
    BLACK_IS_ZERO,
    PALETTE,
    RGB,
    WHITE_IS_ZERO,
    YCBCR,
    PageLayout,
    PageSize,
    TiffFile,
    TiffFrames,
    TiffPage,
)
from segscope.io.tiff.scale import Scale, read_scale
from segscope.stack import Kind, Stack

TiffSeries = Any
"""An image of a tifffile file."""

SUFFIXES = (".tif", ".tiff", ".btf", ".tf8", ".lsm")
_WHAT = "a TIFF file"
_UPRIGHT = (0, 1)
_PHOTOMETRIC = (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR)


class Tiff(FileFormat):
    """Reads page by page. T is time, Z or unnamed pages are slices, C and S are channels; anything
    else is refused.
    """

    name = "TIFF"
    suffixes = SUFFIXES

    def read(self, path: Path, options: ReadOptions) -> Stack:
        with reading(path, _WHAT):
            check_file(path)
            return _read_stack(path, options)


def read_labels(path: Path) -> Stack:
    """The numbers that a TIFF stores, whatever brightness or colour they are shown with.

    Programs that write masks let 0 mean white, or give labels a palette, only for display.
    """
    with reading(path, _WHAT):
        check_file(path)
        return _read_stack(path, ReadOptions(), as_stored=True)


def _read_stack(path: Path, options: ReadOptions, *, as_stored: bool = False) -> Stack:
    with _open_file(path) as tif:
        number = _select_series(path, tif, options)
        series = tif.series[number]
        page = series.keyframe
        _check_page(path, page)
        size = _page_size(path, series, page)
        page_axes = _page_axes(series, page)
        count = int(np.prod([axis.length for axis in page_axes], dtype=np.int64))
        check_declared(path, (count, size.rows, size.columns, size.samples), series.dtype.itemsize)
        _check_pages(path, tif, series, count)
        scale = read_scale(tif, series, number)
        notes: list[str] = []
        layout = _make_layout(path, page_axes, size.samples, options, notes)
        frames = TiffFrames(path, number, page, size, layout, as_stored=as_stored)
    times = None
    if layout.kind == "video":
        times = scale.times(layout.frames)
    meta: dict[str, object] = {"axes": series.axes, **scale.meta}
    if scale.yx_mm is not None:
        meta["pixel_size_yx_mm"] = scale.yx_mm
    geometry = _make_geometry(scale, layout.kind, notes)
    if notes:
        meta["notes"] = tuple(notes)
    return Stack(frames, layout.kind, None, geometry, times, path, meta=meta)


# --- opening -------------------------------------------------------------------------------------


class _LogMessages(logging.Handler):
    """Collects what tifffile only logs: pages that it leaves out because the file is damaged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        self.thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread:
            self.messages.append(record.getMessage())


@contextmanager
def _open_file(path: Path) -> Iterator[TiffFile]:
    import tifffile

    log = _LogMessages()
    logger = logging.getLogger("tifffile")
    logger.addHandler(log)
    propagates = logger.propagate
    logger.propagate = False
    try:
        with tifffile.TiffFile(path, _multifile=False) as tif:
            _check_description(path, tif)
            is_ome = tif.is_ome
            is_read_as_ome = bool(tif.series) and tif.series[0].kind == "ome"
            if log.messages:
                reason = " ".join(log.messages[0].split())[:200]
                raise ReadError(f"{path} is damaged or cut off: {reason}. Copy or export it again.")
            if is_ome and not is_read_as_ome:
                raise ReadError(f"{path} has an unusable OME description; export it again")
            yield tif
    finally:
        logger.removeHandler(log)
        logger.propagate = propagates


def _check_description(path: Path, tif: TiffFile) -> None:
    """Refuse OME descriptions with XML entities, or of images over several files."""
    if not len(tif.pages):
        return
    description = str(getattr(tif.pages[0], "description", ""))
    if "<!DOCTYPE" in description or "<!ENTITY" in description:
        raise ReadError(
            f"{path} defines XML entities in its OME description, which no microscope does"
        )
    file_names = set(re.findall(r'FileName="([^"]*)"', description))
    if len(file_names) > 1:
        raise ReadError(
            f"{path} is one part of an OME-TIFF over several files; join them into one file first"
        )


def _select_series(path: Path, tif: TiffFile, options: ReadOptions) -> int:
    count = len(tif.series)
    if not count:
        raise ReadError(f"{path} holds no image; it is damaged or cut off")
    if options.series is None and count == 1:
        return 0
    entries = [
        f"{number}: {entry.shape} {entry.axes}" for number, entry in enumerate(tif.series[:12], 1)
    ]
    listing = "; ".join(entries)
    if options.series is None:
        raise UsageError(
            f"{path} holds {count} different images; choose one with the option series: {listing}"
        )
    if not (options.series.isdecimal() and 1 <= int(options.series) <= count):
        raise UsageError(f"{path} has no series {options.series!r}; its images are {listing}")
    return int(options.series) - 1


# --- checks --------------------------------------------------------------------------------------


def _check_page(path: Path, page: TiffPage) -> None:
    dtype = page.dtype
    if dtype is None or dtype.kind not in "buif" or dtype.itemsize > 8:
        raise ReadError(f"{path} holds values of type {dtype}; expected integers or real numbers")
    if int(page.photometric) not in _PHOTOMETRIC:
        name = getattr(page.photometric, "name", page.photometric)
        raise ReadError(f"{path} stores its colours as {name}; save it as RGB or grey first")
    orientation = page.tags.get("Orientation")
    if orientation is not None and int(orientation.value) not in _UPRIGHT:
        raise ReadError(
            f"{path} is stored turned or mirrored (orientation {orientation.value}); "
            "save it upright first"
        )


def _check_pages(path: Path, tif: TiffFile, series: TiffSeries, count: int) -> None:
    """Every page is there, and its data lie inside the file."""
    size = tif.filehandle.size
    if series.dataoffset is not None:
        expected = series.dataoffset + count * series.keyframe.nbytes
        if expected > size:
            raise ReadError(
                f"{path} is cut off: it needs {expected} bytes and has {size}. "
                "Copy or export it again."
            )
        return
    if len(series.pages) != count:
        raise ReadError(
            f"{path} declares {count} pages and holds {len(series.pages)}; it is cut off or damaged"
        )
    for number, page in enumerate(series.pages):
        if page is None:
            raise ReadError(
                f"{path} lacks page {number} of {count}; it is cut off, or one of several files"
            )
        parts = zip(page.dataoffsets, page.databytecounts, strict=True)
        ends = [offset + length for offset, length in parts]
        if not ends or min(page.databytecounts) <= 0 or max(ends) > size:
            raise ReadError(
                f"{path} is cut off or damaged: the data of page {number} extend beyond the file"
            )


# --- axes ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _PageAxis:
    """An axis that pages run along: its letter, its length, and pages from one step to the next."""

    letter: str
    length: int = 1
    step: int = 0


def _page_size(path: Path, series: TiffSeries, page: TiffPage) -> PageSize:
    if page.axes not in ("YX", "YXS", "SYX") or not series.axes.endswith(page.axes):
        raise ReadError(
            f"{path} has the axes {series.axes} of {series.shape} with pages {page.axes}; "
            "expected pages of rows and columns (YX). Save it as an ImageJ or OME-TIFF stack."
        )
    sizes = dict(zip(page.axes, page.shape, strict=True))
    return PageSize(sizes["Y"], sizes["X"], sizes.get("S", 1))


def _page_axes(series: TiffSeries, page: TiffPage) -> list[_PageAxis]:
    """Axes before those of a page, the slowest first."""
    count = len(series.axes) - len(page.axes)
    axes: list[_PageAxis] = []
    step = 1
    for letter, length in zip(series.axes[:count][::-1], series.shape[:count][::-1], strict=True):
        axes.insert(0, _PageAxis(letter, int(length), step))
        step *= int(length)
    return axes


def _make_layout(
    path: Path,
    page_axes: Sequence[_PageAxis],
    samples: int,
    options: ReadOptions,
    notes: list[str],
) -> PageLayout:
    named = _name_axes(path, page_axes, notes)
    times = named.get("T", _PageAxis("T"))
    slices = named.get("Z", _PageAxis("Z"))
    channels = named.get("C", _PageAxis("C"))
    supported = ["series"]
    if max(channels.length, samples) > 1:
        supported.append("channel")
    if times.length > 1:
        supported.append("volume")
    refuse_options(path, options, *supported)
    choice = _choose_channels(path, channels, samples, options.channel)
    first = choice.first * channels.step
    kind: Kind = "volume" if slices.length > 1 else "image"
    frame_axis = slices
    if slices.length == 1 < times.length and options.volume is None:
        kind = "video"
        frame_axis = times
    else:
        volume = choose_part(path, options.volume, times.length, "time points", "volume")
        first += volume * times.step
    return PageLayout(
        kind=kind,
        frames=frame_axis.length,
        frame_step=frame_axis.step,
        first=first,
        channels=choice.count,
        channel_step=channels.step,
        sample=choice.sample,
    )


@dataclass(frozen=True)
class _Channels:
    """The channels of a frame: pages from `first` on, or one sample of each pixel."""

    first: int
    count: int
    sample: int | None = None


def _choose_channels(
    path: Path, channels: _PageAxis, samples: int, requested: int | None
) -> _Channels:
    if requested is None:
        if channels.length > 1 and samples > 1:
            raise UsageError(
                f"{path} holds {channels.length} channels of {samples} colours each; "
                "choose one with the option channel"
            )
        return _Channels(0, channels.length)
    if channels.length > 1:
        first = choose_part(path, requested, channels.length, "channels", "channel")
        return _Channels(first, 1)
    sample = None
    if samples > 1:
        sample = choose_part(path, requested, samples, "channels", "channel")
    return _Channels(0, 1, sample)


def _name_axes(
    path: Path, page_axes: Sequence[_PageAxis], notes: list[str]
) -> dict[str, _PageAxis]:
    """The axes longer than 1 as T, Z and C; a single unnamed one is taken as Z.

    Raises:
        ReadError: an axis without a known meaning.
    """
    long_axes = [axis for axis in page_axes if axis.length > 1]
    named = {axis.letter: axis for axis in long_axes}
    unnamed = [axis.letter for axis in long_axes if axis.letter not in "TZC"]
    if len(unnamed) > 1 or (unnamed and ("Z" in named or "T" in named)):
        listing = ", ".join(f"{axis.letter} {axis.length}" for axis in page_axes)
        raise ReadError(
            f"{path} has pages along {listing}, and not all of these axes have a known meaning; "
            "expected T (time), Z (slices), C (channels). Save it as an ImageJ hyperstack or "
            "OME-TIFF with these axes."
        )
    if unnamed:
        notes.append("the file does not name the axis of its pages; they are taken as slices")
        named["Z"] = named.pop(unnamed[0])
    return named


def _make_geometry(scale: Scale, kind: Kind, notes: list[str]) -> Geometry | None:
    if scale.yx_mm is None:
        return None
    if scale.z_mm is None and kind == "volume":
        notes.append("the file states the size of its pixels but not the distance of its slices")
        return None
    return Geometry.from_spacing((scale.z_mm or 1.0, *scale.yx_mm))


FORMATS = (Tiff(),)
