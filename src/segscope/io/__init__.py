"""Path to Stack and Masks to path: one format family per file, listed in two tables."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from segscope.errors import ReadError, SegscopeError, UsageError, WriteError
from segscope.files import check_regular, reason_of
from segscope.io import (
    coco,
    image_files,
    label_images,
    metaimage,
    nifti,
    numpy_files,
    slides,
    zarr_files,
)
from segscope.io.base import Format, MaskFormat, ReadOptions, reading, suffix_of
from segscope.io.dicom import gzipped, seg_reader, seg_writer
from segscope.io.dicom import reader as dicom_reader
from segscope.io.dicom.files import is_dicom
from segscope.io.flat import note_flat
from segscope.io.nrrd import reader as nrrd_reader
from segscope.io.nrrd import segmentation as nrrd_segmentation
from segscope.io.paths import describe_missing, find_path
from segscope.io.tiff import reader as tiff_reader
from segscope.io.tiff import writer as tiff_writer
from segscope.io.video import frame_folder
from segscope.io.video import reader as video_reader
from segscope.masks import Masks
from segscope.stack import Stack

FORMATS: tuple[Format, ...] = (
    *nifti.FORMATS,
    *nrrd_reader.FORMATS,
    *metaimage.FORMATS,
    *numpy_files.FORMATS,
    *zarr_files.FORMATS,
    *slides.FORMATS,
    *tiff_reader.FORMATS,
    *dicom_reader.FORMATS,
    *gzipped.FORMATS,
    *video_reader.FORMATS,
    *frame_folder.FORMATS,
    *image_files.FORMATS,
)
"""The first that recognises a path reads it."""

MASK_FORMATS: tuple[MaskFormat, ...] = (
    *nifti.MASK_FORMATS,
    *nrrd_segmentation.MASK_FORMATS,
    *metaimage.MASK_FORMATS,
    *label_images.MASK_FORMATS,
    *tiff_writer.MASK_FORMATS,
    *numpy_files.MASK_FORMATS,
    *coco.MASK_FORMATS,
    *seg_writer.MASK_FORMATS,
)
"""The one with the longest suffix that fits writes."""

log = logging.getLogger("segscope.io")

_ARCHIVES = (
    ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar",
)  # fmt: skip

_MaskReader = Callable[[Path, Stack | None], Masks]
_MASK_READERS: tuple[tuple[tuple[str, ...], _MaskReader], ...] = (
    (nifti.Nifti.suffixes, nifti.read_masks),
    (nrrd_reader.SUFFIXES, nrrd_segmentation.read_masks),
    (metaimage.SUFFIXES, metaimage.read_masks),
    (numpy_files.SUFFIXES, numpy_files.read_masks),
    (tiff_reader.SUFFIXES, tiff_writer.read_masks),
    (image_files.SUFFIXES, label_images.read_masks),
    ((".json",), coco.read_masks),
)


def read(
    path: str | Path,
    *,
    series: str | None = None,
    volume: int | None = None,
    channel: int | None = None,
    resample_slices: bool = False,
) -> Stack:
    """The image, volume or video at a path, as frames with geometry; lazily where the format
    allows.

    Args:
        path: a file, or a folder with a DICOM series or with frames.
        series: which DICOM series of a folder, when there are several.
        volume: which time point of a 4D file, from 0.
        channel: which channel of a microscopy file, from 0; all by default.
        resample_slices: interpolate even slices where those of a DICOM series are uneven, which is
            refused otherwise.

    Raises:
        UsageError: nothing there, an unknown format, or a choice is missing or does not fit.
        ReadError: damaged, cut off, too large, or not what its name says.
        MissingExtra: an optional package is needed.
    """
    path = _check_exists(path)
    entry = _select_format(path)
    with reading(path, f"{entry.name} data"):
        options = ReadOptions(series, volume, channel, resample_slices)
        return note_flat(entry.read(path, options))


def _select_format(path: Path) -> Format:
    """The format of a path: DICOM by its mark, whatever the name, else the first that recognises
    it.
    """
    if is_dicom(path):
        return dicom_reader.DicomFile()
    for entry in FORMATS:
        if entry.recognises(path):
            return entry
    if suffix_of(path, _ARCHIVES) is not None:
        raise UsageError(
            f"{path} is an archive; unpack it, and name a file or a folder inside. Read as they "
            "are: a .zip of DICOM files, and .gz of one DICOM or NIfTI file."
        )
    raise UsageError(f"{path} has an unknown format. Known formats: {_describe_formats()}.")


def _check_exists(path: str | Path) -> Path:
    path = find_path(Path(path).expanduser())
    with reading(path, "a file or folder"):
        if not path.exists():
            raise UsageError(describe_missing(path))
        if path.is_dir():
            return path
        if not path.is_file():
            raise UsageError(f"{path} is a pipe or a device; name a file or a folder")
        if path.stat().st_size == 0:
            raise ReadError(f"{path} is empty (0 bytes); copy or export it again")
    return path


def _describe_formats() -> str:
    descriptions = []
    for entry in FORMATS:
        suffixes = ", ".join(entry.suffixes) or "folder"
        descriptions.append(f"{entry.name} ({suffixes})")
    return "; ".join(descriptions)


def read_masks(path: str | Path, like: Stack | None = None) -> Masks:
    """Masks of a label file, a folder of label images, a DICOM SEG or a COCO file.

    Args:
        path: the file or folder.
        like: the stack they belong to. The masks lie on exactly its grid (flipped or turned by
            whole voxels when the file stores them in another order).

    Returns:
        The masks. What was left out or changed on the way is a warning of the log "segscope.io",
        and for DICOM also in their record, under "notes".

    Raises:
        UsageError: nothing there, or an unknown format.
        ReadError: damaged, not labels, or on another grid than `like`.
    """
    path = _check_exists(path)
    reader = _select_mask_reader(path)
    with reading(path, "masks"):
        masks = reader(path, like)
    for note in masks.record.get("notes", ()):
        log.warning("%s: %s", path, note)
    return masks


def needs_scan(path: str | Path) -> bool:
    """Whether the masks of a file may have a place only on their scan, so that `read_masks` wants
    `like`: contours, and segments of images without positions.

    Raises:
        UsageError: nothing there, or an unknown format.
    """
    return _select_mask_reader(_check_exists(path)) is seg_reader.read_masks


def _select_mask_reader(path: Path) -> _MaskReader:
    if path.is_file():
        if is_dicom(path):
            return seg_reader.read_masks
        for suffixes, reader in _MASK_READERS:
            if suffix_of(path, suffixes) is not None:
                return reader
        if any(entry.recognises(path) for entry in nifti.FORMATS):
            return nifti.read_masks
        if any(entry.recognises(path) for entry in dicom_reader.FORMATS):
            return seg_reader.read_masks
    elif any(entry.recognises(path) for entry in zarr_files.FORMATS):
        return zarr_files.read_masks
    else:
        return label_images.read_masks
    raise UsageError(
        f"{path} is not in a format that holds masks. Known: {', '.join(_mask_suffixes())}, "
        "a folder of PNGs."
    )


def _mask_suffixes() -> list[str]:
    return [suffix for entry in MASK_FORMATS for suffix in entry.suffixes]


def write(masks: Masks, path: str | Path, source: Stack | None = None) -> None:
    """Write masks in the format that the suffix of `path` names; a folder (no suffix, or ends in /)
    gets PNGs.

    Args:
        masks: what to write, on the grid of `source`.
        path: the new file; a failed write leaves nothing there.
        source: the stack they were made on. NIfTI headers, DICOM references and EXIF orientation
            come from it.

    Raises:
        UsageError: an unknown suffix, a format that does not fit, or the file of the source itself.
        WriteError: the file system refuses, or the geometry does not fit into the format.
    """
    is_folder = str(path).endswith("/") or not Path(path).suffix
    path = Path(path).expanduser()
    entry = _select_mask_format(path, is_folder)
    with _writing(path, entry):
        if source is not None:
            masks = _match_source(masks, path, source)
        entry.write(masks, path, source)


def check_output(path: str | Path, source: Stack, object_ids: Iterable[int] = (1,)) -> None:
    """Refuse a file that masks of a stack could not be written to, before they are made.

    Args:
        path: as for `write`.
        source: the stack that the masks will be made on.
        object_ids: of the objects that will be written, where they are known.

    Raises:
        UsageError: an unknown suffix, a format that does not fit the stack, or a file that must
            not be overwritten.
        WriteError: the geometry does not fit into the format, or the format cannot be made.
    """
    is_folder = str(path).endswith("/") or not Path(path).suffix
    path = Path(path).expanduser()
    check_regular(path)
    entry = _select_mask_format(path, is_folder)
    names = dict.fromkeys(object_ids, "")
    empty = Masks(source.shape_zyx, {}, names, {}, source.geometry, source.times_s, {}, source.axis)
    with _writing(path, entry):
        entry.check(_match_source(empty, path, source), path, source)


@contextmanager
def _writing(path: Path, entry: MaskFormat) -> Iterator[None]:
    """Turn what a file system or a library raises on writing into a WriteError: the fault is not in
    the image.
    """
    try:
        yield
    except SegscopeError:
        raise
    except OSError as error:
        raise WriteError(f"cannot write {path}: {reason_of(error)}") from error
    # libraries raise anything; the cause stays attached
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise WriteError(
            f"{path} cannot be written as {entry.name}: {type(error).__name__} {reason}. "
            "Write another format, for instance .nii.gz or .seg.nrrd, and please report this as a "
            "bug in segscope."
        ) from error


def _select_mask_format(path: Path, is_folder: bool) -> MaskFormat:
    if is_folder:
        return label_images.LabelFolder()
    suffix = suffix_of(path, tuple(_mask_suffixes()))
    for entry in MASK_FORMATS:
        if suffix in entry.suffixes:
            return entry
    raise UsageError(
        f"masks cannot be written as {path.name}. Known suffixes: {', '.join(_mask_suffixes())}; "
        "a path without a suffix becomes a folder with one PNG per frame."
    )


def _source_files(source: Stack) -> list[Path]:
    """The file or folder of a stack, and all files that hold its frames."""
    if source.path is None:
        return []
    frames = [source.path / name for name in source.meta.get("frame_files", ())]
    dicom_files = list(map(Path, source.meta.get("dicom_files", ())))
    return [source.path, *frames, *dicom_files, *source.meta.get("data_files", ())]


def _match_source(masks: Masks, path: Path, source: Stack) -> Masks:
    """The masks with geometry and times of their stack, after a check that they belong to it."""
    if masks.shape_zyx != source.shape_zyx or masks.axis != source.axis:
        raise UsageError(
            f"these masks are {masks.shape_zyx} (frame, row, column) along axis {masks.axis}, but "
            f"the source is {source.shape_zyx} along axis {source.axis}; "
            "give the stack that they were made on"
        )
    if path.exists():
        existing = [file for file in _source_files(source) if file.exists()]
        if any(map(path.samefile, existing)):
            raise UsageError(
                f"{path} is the scan itself, or a part of it, and would be overwritten; "
                "name another file"
            )
    if masks.geometry is None or source.geometry is None:
        geometry = masks.geometry or source.geometry
    elif masks.geometry.same_grid(source.geometry):
        geometry = masks.geometry
    else:
        raise UsageError(
            "these masks lie elsewhere in the world than the source; "
            "give the stack they were made on"
        )
    times_s = masks.times_s
    if times_s is None:
        times_s = source.times_s
    return replace(masks, geometry=geometry, times_s=times_s)


__all__ = [
    "FORMATS",
    "MASK_FORMATS",
    "Format",
    "MaskFormat",
    "ReadOptions",
    "check_output",
    "needs_scan",
    "read",
    "read_masks",
    "write",
]
