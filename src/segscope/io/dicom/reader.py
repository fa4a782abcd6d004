"""DICOM in: one file, a folder with a series, multi-frame files and clips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segscope.errors import ReadError, UsageError
from segscope.files import list_visible
from segscope.io.base import FolderFormat, ReadOptions, check_declared, check_file, refuse_options
from segscope.io.dicom.files import list_files, looks_like_dicom
from segscope.io.dicom.headers import Frame, NoFrames, read_frames
from segscope.io.dicom.pixels import DicomFrames
from segscope.io.dicom.series import SortedFrames, group_frames, select_group, sort_group
from segscope.stack import Stack

_SUFFIXES = (".dcm", ".dicom", ".ima")
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
_MAX_PROBED = 64  # files of a folder whose first bytes are read to recognise it


class DicomFile:
    """One DICOM file: an image, a multi-frame volume or a clip."""

    name = "DICOM file"
    suffixes = _SUFFIXES

    def recognises(self, path: Path) -> bool:
        return path.is_file() and (_has_suffix(path) or looks_like_dicom(path))

    def read(self, path: Path, options: ReadOptions) -> Stack:
        """Read one file.

        Raises:
            ReadError: damaged, cut off, not an image, or frames that form no stack.
            UsageError: the file is a segmentation, or a choice is missing.
        """
        check_file(path)
        frames = read_frames(path)
        if isinstance(frames, NoFrames):
            message = f"{path} is DICOM, but {frames.reason}."
            if frames.holds_masks:
                raise UsageError(message)
            raise ReadError(message)
        return _make_stack(path, frames, options, ())


class DicomFolder(FolderFormat):
    """A folder (with its sub-folders) that holds the files of one or more series."""

    name = "DICOM series"

    def recognises_folder(self, folder: Path) -> bool:
        files = list(filter(Path.is_file, list_visible(folder)))
        if _has_dicom(files):
            return True
        # a folder of frames stays one, whatever lies in its sub-folders
        if any(file.suffix.lower() in _IMAGE_SUFFIXES for file in files):
            return False
        return _has_dicom(list_files(folder))

    def read(self, path: Path, options: ReadOptions) -> Stack:
        """Read the only series of a folder, or the one that `options.series` names.

        Raises:
            UsageError: several series and no choice, or a choice that matches none.
            ReadError: a damaged file, or slices that form no volume.
        """
        frames, left_out = _scan_folder(path)
        if not frames:
            counts = [f"{count} {reason}" for reason, count in left_out.items()]
            raise ReadError(
                f"{path} holds no DICOM images ({'; '.join(counts) or 'no files'}); "
                "name the folder of a series"
            )
        notes = tuple(f"{count} files left out: {reason}" for reason, count in left_out.items())
        return _make_stack(path, frames, options, notes)


def _has_suffix(file: Path) -> bool:
    return file.name.lower().endswith(_SUFFIXES)


def _has_dicom(files: Sequence[Path]) -> bool:
    if any(map(_has_suffix, files)):
        return True
    return any(map(looks_like_dicom, files[:_MAX_PROBED]))


def _scan_folder(folder: Path) -> tuple[list[Frame], dict[str, int]]:
    """Frames of all files, and how many files were left out, by reason."""
    frames: list[Frame] = []
    left_out: Counter[str] = Counter()
    for file in list_files(folder):
        result: list[Frame] | NoFrames = NoFrames("not DICOM")
        if _has_suffix(file) or looks_like_dicom(file):
            check_file(file)
            result = read_frames(file)
        if isinstance(result, NoFrames):
            reason = result.reason.partition(":")[0]
            left_out[reason] += 1
        else:
            frames += result
    return frames, left_out


def _make_stack(
    path: Path, frames: Sequence[Frame], options: ReadOptions, notes: tuple[str, ...]
) -> Stack:
    if options.channel is not None:
        refuse_options(path, options, "series", "volume")
    group = select_group(path, group_frames(frames), options.series)
    result = sort_group(path, group, options)
    source = DicomFrames(result.frames)
    check_declared(path, source.shape, source.dtype.itemsize)
    modality = result.frames[0].file.modality
    meta = _make_meta(result, notes)
    return Stack(source, result.kind, modality, result.geometry, result.times_s, path, meta=meta)


def _make_meta(result: SortedFrames, notes: tuple[str, ...]) -> dict[str, Any]:
    """What writers, windows and users may need later. No patient data."""
    frames = result.frames
    file = frames[0].file
    meta = {
        "dicom_files": tuple(str(frame.file.path) for frame in frames),
        "dicom_frames": tuple(frame.index for frame in frames),
        "dicom_uids": tuple(frame.file.sop_uid for frame in frames),
        "series_uid": file.series_uid,
        "frame_of_reference": file.frame_of_reference,
        "series_description": file.description,
        **result.meta,
        "notes": (*notes, *result.meta.get("notes", ())),
    }
    windows = [frame.window for frame in frames if frame.window is not None]
    if windows and file.samples == 1:
        # one window for the stack, though each slice may have its own
        low, high = np.median(np.array(windows), axis=0)
        meta["window"] = (float(low), float(high))
    if file.photometric == "MONOCHROME1":
        meta["inverted"] = True
    if file.spacing_source:
        meta["spacing_source"] = file.spacing_source
    return meta


FORMATS = (DicomFile(), DicomFolder())
