"""DICOM in: one file, a folder with a series, multi-frame files and clips; SEG and RTSTRUCT as
masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segscope.errors import ReadError, UsageError
from segscope.io.base import ReadOptions, check_declared
from segscope.io.byte_sources import check_file, refuse_options
from segscope.io.dicom.headers import Frame, files_below, looks_like_dicom, read_frames
from segscope.io.dicom.pixels import DicomFrames
from segscope.io.dicom.seg_reader import read_masks
from segscope.io.dicom.series import Arranged, arrange, group, select
from segscope.stack import Stack

_SUFFIXES = (".dcm", ".dicom", ".ima")
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
_LOOKED_AT = 64


class DicomFile:
    """One DICOM file: a image, a multi-frame volume or a clip."""

    name = "DICOM file"
    suffixes = _SUFFIXES

    def recognises(self, path: Path) -> bool:
        return path.is_file() and (path.name.lower().endswith(_SUFFIXES) or looks_like_dicom(path))

    def read(self, path: Path, options: ReadOptions) -> Stack:
        """Read one file.

        Raises:
            ReadError: damaged, cut off, not an image, or frames that form no stack.
            UsageError: the file is a segmentation, or a choice is missing.
        """
        check_file(path)
        found = read_frames(path)
        if isinstance(found, str):
            kind = UsageError if "masks" in found else ReadError
            raise kind(f"{path} is DICOM, but {found}.")
        return _stack(path, found, options, ())


class DicomFolder:
    """A folder (with its sub-folders) that holds the files of one or more series."""

    name = "DICOM series"
    suffixes = ()

    def recognises(self, path: Path) -> bool:
        if not path.is_dir():
            return False
        here = sorted(
            file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")
        )
        if _has_dicom(here):
            return True
        # a folder of frames stays one, whatever lies in its sub-folders
        return not any(file.suffix.lower() in _PICTURES for file in here) and _has_dicom(
            files_below(path)
        )

    def read(self, path: Path, options: ReadOptions) -> Stack:
        """Read the one series of a folder, or the one that `options.series` names.

        Raises:
            UsageError: several series and no choice, or a choice that fits none.
            ReadError: a damaged file, or slices that form no volume.
        """
        frames, left_out = _scan(path)
        if not frames:
            reasons = (
                "; ".join(f"{count} {reason}" for reason, count in left_out.items()) or "no files"
            )
            raise ReadError(
                f"{path} holds no DICOM images ({reasons}); name the folder of a series"
            )
        notes = tuple(f"{count} files left out: {reason}" for reason, count in left_out.items())
        return _stack(path, frames, options, notes)


def _has_dicom(files: Sequence[Path]) -> bool:
    named = any(file.name.lower().endswith(_SUFFIXES) for file in files)
    return named or any(looks_like_dicom(file) for file in files[:_LOOKED_AT])


def _scan(folder: Path) -> tuple[list[Frame], dict[str, int]]:
    """Frames of all files, and why how many files were left out."""
    frames: list[Frame] = []
    left_out: dict[str, int] = {}
    for file in files_below(folder):
        named = file.name.lower().endswith(_SUFFIXES)
        found: list[Frame] | str = "not DICOM"
        if named or looks_like_dicom(file):
            check_file(file)
            found = read_frames(file)
        if isinstance(found, str):
            reason = found.partition(":")[0]
            left_out[reason] = left_out.get(reason, 0) + 1
        else:
            frames += found
    return frames, left_out


def _stack(
    path: Path, frames: Sequence[Frame], options: ReadOptions, notes: tuple[str, ...]
) -> Stack:
    if options.channel is not None:
        refuse_options(path, options, "series", "volume")
    arranged = arrange(path, select(path, group(frames), options.series), options)
    source = DicomFrames(arranged.frames)
    check_declared(path, source.shape, source.dtype.itemsize)
    file = arranged.frames[0].file
    return Stack(source, arranged.kind, file.modality, arranged.geometry, arranged.times_s, path,
                 meta=_meta(arranged, notes))  # fmt: skip


def _meta(arranged: Arranged, notes: tuple[str, ...]) -> dict[str, Any]:
    """What writers, windows and people may need later. No patient data."""
    frames = arranged.frames
    file = frames[0].file
    meta = {
        "dicom_files": tuple(str(frame.file.path) for frame in frames),
        "dicom_frames": tuple(frame.index for frame in frames),
        "dicom_uids": tuple(frame.file.sop_uid for frame in frames),
        "series_uid": file.series_uid,
        "series_description": file.description,
        **arranged.meta,
        "notes": (*notes, *arranged.meta.get("notes", ())),
    }
    windows = [frame.window for frame in frames if frame.window is not None]
    if windows and file.samples == 1:
        low, high = np.median(
            np.array(windows), axis=0
        )  # one window for the stack, though slices may carry their own
        meta["window"] = (float(low), float(high))
    if file.photometric == "MONOCHROME1":
        meta["inverted"] = True
    if file.spacing_source:
        meta["spacing_source"] = file.spacing_source
    return meta


FORMATS = (DicomFile(), DicomFolder())
__all__ = ["FORMATS", "DicomFile", "DicomFolder", "read_masks"]
