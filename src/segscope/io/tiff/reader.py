"""TIFF, TIFF stacks, ImageJ hyperstacks and OME-TIFF: which page is which frame, or a refusal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segscope.arrays import PixelType
from segscope.errors import ReadError, UsageError
from segscope.geometry import Geometry
from segscope.io.base import FileFormat, ReadOptions, check_declared, check_file, reading
from segscope.io.orientation import CMYK_NOTE, SIDEWAYS
from segscope.io.tiff.axes import PageAxis, make_layout, page_axes, page_size
from segscope.io.tiff.codecs import YCBCR
from segscope.io.tiff.frames import (
    BLACK_IS_ZERO,
    CMYK,
    PALETTE,
    RGB,
    WHITE_IS_ZERO,
    PageDecoder,
    PageSource,
    SeriesPages,
    TiffFile,
    TiffFrames,
    TiffPage,
    read_orientation,
)
from segscope.io.tiff.ome_files import (
    COMPANION_SUFFIX,
    OmeImage,
    is_spread_over_files,
    read_companion,
    refuse_entities,
    select_image,
)
from segscope.io.tiff.remarks import collect_remarks, notes_of, refuse_lost_data
from segscope.io.tiff.scale import Scale, read_ome_scale, read_scale
from segscope.stack import Kind, Stack

SUFFIXES = (".tif", ".tiff", ".btf", ".tf8", ".lsm", COMPANION_SUFFIX)
_WHAT = "a TIFF file"
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


@dataclass(frozen=True)
class _Image:
    """One image of a TIFF.

    Attributes:
        page: one of its pages, which stands for all.
        pages: all of them.
        axes: letters of the axes, those of a page last.
        page_axes: the axes before those of a page, the slowest first.
        dtype: of the stored values.
        scale: its sizes.
        notes: what the user should know.
        files: further files of its set.
    """

    page: TiffPage
    pages: PageSource
    axes: str
    page_axes: Sequence[PageAxis]
    dtype: PixelType
    scale: Scale
    notes: list[str] = field(default_factory=list)
    files: tuple[Path, ...] = ()

    @property
    def page_count(self) -> int:
        """Pages that its axes ask for."""
        lengths = [axis.length for axis in self.page_axes]
        return int(np.prod(lengths, dtype=np.int64))


def _read_stack(path: Path, options: ReadOptions, *, as_stored: bool = False) -> Stack:
    with _open_image(path, options) as image:
        page = image.page
        _check_page(path, page, as_stored=as_stored)
        size = page_size(path, image.axes, page)
        declared = (image.page_count, size.rows, size.columns, size.samples)
        check_declared(path, declared, image.dtype.itemsize)
        notes = image.notes
        layout = make_layout(path, image.page_axes, size.samples, options, notes)
        decoder = PageDecoder.of(path, page, size, as_stored=as_stored)
        frames = TiffFrames(path, image.pages, decoder, size, layout, image.dtype)
    if decoder.is_cmyk:
        notes.append(CMYK_NOTE)
    if decoder.has_alpha:
        notes.append("transparency (the last sample of each pixel) is left out")
    times = None
    if layout.kind == "video":
        times = image.scale.times(layout.frames)
    scale = image.scale
    meta: dict[str, object] = {"axes": image.axes, **scale.meta}
    if image.files:
        meta["data_files"] = image.files
    if decoder.orientation != 1:
        meta["orientation"] = decoder.orientation
    yx_mm = _upright_size(scale, decoder.orientation)
    if yx_mm is not None:
        meta["pixel_size_yx_mm"] = yx_mm
    geometry = _make_geometry(yx_mm, scale.z_mm, layout.kind, notes)
    if notes:
        meta["notes"] = tuple(notes)
    return Stack(frames, layout.kind, None, geometry, times, path, meta=meta)


# --- opening -------------------------------------------------------------------------------------


def open_alone(path: Path) -> TiffFile:
    """A file by itself: files that it names are not opened."""
    import tifffile

    # Micro-Manager's own index may point into other files; its OME description says which
    return tifffile.TiffFile(path, _multifile=False, is_mmstack=False)


@contextmanager
def _open_image(path: Path, options: ReadOptions) -> Iterator[_Image]:
    """The image to read, of a file whose structure is sound."""
    with collect_remarks() as remarks:
        if path.name.lower().endswith(COMPANION_SUFFIX):
            description = read_companion(path)
            yield _image_over_files(select_image(path, description, options.series, open_alone))
        else:
            with open_alone(path) as tif:
                image = _select_image(path, tif, options)
                refuse_lost_data(path, remarks)
                image.notes.extend(notes_of(remarks))
                yield image
        refuse_lost_data(path, remarks)


def _description(tif: TiffFile) -> str:
    if not len(tif.pages):
        return ""
    return str(getattr(tif.pages[0], "description", ""))


def _select_image(path: Path, tif: TiffFile, options: ReadOptions) -> _Image:
    description = _description(tif)
    refuse_entities(path, description)
    if is_spread_over_files(description):
        return _image_over_files(select_image(path, description, options.series, open_alone))
    return _image_of_series(path, tif, options)


def _image_over_files(image: OmeImage) -> _Image:
    page = image.pages.first_page
    axes = page_axes("TZC", image.lengths_tzc)
    scale = read_ome_scale(image.root, image.number)
    return _Image(
        page=page,
        pages=image.pages,
        axes="TZC" + page.axes,
        page_axes=axes,
        dtype=page.dtype,
        scale=scale,
        notes=[*image.notes],
        files=image.files,
    )


def _image_of_series(path: Path, tif: TiffFile, options: ReadOptions) -> _Image:
    number = _select_series(path, tif, options)
    series = tif.series[number]
    if tif.is_ome and series.kind != "ome":
        raise ReadError(f"{path} has an unusable OME description; export it again")
    page = series.keyframe
    before_page = len(series.axes) - len(page.axes)
    image = _Image(
        page=page,
        pages=SeriesPages(path, number, open_alone),
        axes=series.axes,
        page_axes=page_axes(series.axes[:before_page], series.shape[:before_page]),
        dtype=series.dtype,
        scale=read_scale(tif, series, number),
    )
    _check_pages(path, tif, number, image.page_count)
    return image


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


def _check_page(path: Path, page: TiffPage, *, as_stored: bool) -> None:
    dtype = page.dtype
    if dtype is None or dtype.kind not in "buif" or dtype.itemsize > 8:
        raise ReadError(f"{path} holds values of type {dtype}; expected integers or real numbers")
    photometric = int(page.photometric)
    is_shown_cmyk = (
        photometric == CMYK and dtype == np.uint8 and page.samplesperpixel == 4 and not as_stored
    )
    if photometric not in _PHOTOMETRIC and not is_shown_cmyk:
        name = getattr(page.photometric, "name", page.photometric)
        raise ReadError(
            f"{path} stores its colours as {name}, {dtype} with {page.samplesperpixel} samples; "
            "save it as RGB or grey first"
        )


def _check_pages(path: Path, tif: TiffFile, number: int, count: int) -> None:
    """Every page is there, and its data lie inside the file."""
    import tifffile

    series = tif.series[number]
    size = tif.filehandle.size
    orientation = read_orientation(series.keyframe)
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
    for index, page in enumerate(series.pages):
        if page is None:
            raise ReadError(
                f"{path} lacks page {index} of {count}; it is cut off, or one of several files"
            )
        # frames of tifffile are pages whose tags it does not read, as they are the first page's
        if isinstance(page, tifffile.TiffPage) and read_orientation(page) != orientation:
            raise ReadError(
                f"{path} has pages of different orientations ({orientation} on the first, "
                f"{read_orientation(page)} on page {index}); save them upright first"
            )
        parts = zip(page.dataoffsets, page.databytecounts, strict=True)
        ends = [offset + length for offset, length in parts]
        if not ends or min(page.databytecounts) <= 0 or max(ends) > size:
            raise ReadError(
                f"{path} is cut off or damaged: the data of page {index} extend beyond the file"
            )


# --- sizes ---------------------------------------------------------------------------------------


def _upright_size(scale: Scale, orientation: int) -> tuple[float, float] | None:
    """(y, x) size of a pixel of the upright image in mm."""
    if scale.yx_mm is None or orientation not in SIDEWAYS:
        return scale.yx_mm
    stored_y, stored_x = scale.yx_mm
    return (stored_x, stored_y)


def _make_geometry(
    yx_mm: tuple[float, float] | None,
    z_mm: float | None,
    kind: Kind,
    notes: list[str],
) -> Geometry | None:
    if yx_mm is None:
        return None
    if z_mm is None and kind == "volume":
        notes.append("the file states the size of its pixels but not the distance of its slices")
        return None
    return Geometry.from_spacing((z_mm or 1.0, *yx_mm))


FORMATS = (Tiff(),)
