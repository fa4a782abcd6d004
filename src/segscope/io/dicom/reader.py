"""DICOM in: one file, a folder with a series, multi-frame files and clips."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from segscope.errors import ReadError, UsageError
from segscope.files import list_visible
from segscope.io.base import (
    MAX_BYTES,
    FileFormat,
    FolderFormat,
    ReadOptions,
    check_declared,
    check_file,
    refuse_options,
)
from segscope.io.dicom.encapsulated_video import EncapsulatedVideo
from segscope.io.dicom.files import (
    MAX_FILES,
    SUFFIXES,
    has_dicom_suffix,
    list_files,
    looks_like_dicom,
)
from segscope.io.dicom.groups import group_frames, select_group
from segscope.io.dicom.headers import read_frames
from segscope.io.dicom.image_checks import is_video
from segscope.io.dicom.pixels import DicomFrames
from segscope.io.dicom.records import Frame, NoFrames
from segscope.io.dicom.resampling import ResampledFrames
from segscope.io.dicom.scan import FolderScan
from segscope.io.dicom.series import SortedFrames, measure_pixels, sort_group
from segscope.io.frame_source import TemporaryFrames
from segscope.io.unzip import TemporaryFolder, UnpackedPath, UnzipLimits, unpack
from segscope.stack import FrameSource, Stack

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
_MAX_PROBED = 64  # files of a folder whose first bytes are read to recognise it


class DicomFile:
    """One DICOM file: an image, a multi-frame volume or a clip."""

    name = "DICOM file"
    suffixes = SUFFIXES

    def recognises(self, path: Path) -> bool:
        return path.is_file() and (has_dicom_suffix(path) or looks_like_dicom(path))

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
        group = select_group(path, group_frames(frames), options.series)
        return _make_stack(path, group, options, ())


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
        scan = FolderScan.of(path)
        scan.check_images(path, "name the folder of a series")
        return _read_scan(path, scan, options)


class DicomArchive(FileFormat):
    """A zip of a folder of DICOM files, unpacked into a temporary folder as long as its stack is in
    use.
    """

    name = "zip of DICOM files"
    suffixes = (".zip",)

    def read(self, path: Path, options: ReadOptions) -> Stack:
        """Read as a folder.

        Raises:
            UsageError: several series and no choice, or a choice that matches none.
            ReadError: a damaged archive, one beyond the limits, or no DICOM images inside.
        """
        check_file(path)
        folder = TemporaryFolder()
        try:
            unpack(path, folder.path, _limit_archive(folder.path))
        except ReadError as error:
            raise ReadError(f"{path}: {error}") from error
        unpacked = UnpackedPath(folder.path, str(path))
        with unpacked.naming_origin():
            scan = FolderScan.of(folder.path)
            scan.check_images(path, "unpack it, and name a file or a folder inside")
            stack = _read_scan(path, scan, options)
        notes = tuple(map(unpacked.rename, stack.meta["notes"]))
        # the files must last as long as the frames and the references to them
        return replace(
            stack,
            source=TemporaryFrames(stack.source, folder, unpacked),
            meta={**stack.meta, "notes": notes, "unpacked_folder": folder},
        )


def _read_scan(path: Path, scan: FolderScan, options: ReadOptions) -> Stack:
    """The chosen series of a folder."""
    group = select_group(path, group_frames(scan.frames), options.series)
    scan.check_series(group[0].file.series_uid, is_chosen=options.series is not None)
    return _make_stack(path, group, options, scan.notes)


def _limit_archive(folder: Path) -> UnzipLimits:
    """The limits of all files, and half of the space where an archive is unpacked."""
    free = shutil.disk_usage(folder).free
    return UnzipLimits(MAX_FILES, min(MAX_BYTES, free // 2))


def _has_dicom(files: Sequence[Path]) -> bool:
    if any(map(has_dicom_suffix, files)):
        return True
    return any(map(looks_like_dicom, files[:_MAX_PROBED]))


def _make_stack(
    path: Path, group: list[Frame], options: ReadOptions, notes: tuple[str, ...]
) -> Stack:
    """The stack of frames that belong together."""
    if is_video(group[0].file.syntax):
        return _make_video(path, group, options, notes)
    if options.channel is not None:
        refuse_options(path, options, "series", "volume", "resample_slices")
    result = sort_group(path, group, options)
    stored = DicomFrames(result.frames)
    source: FrameSource = stored
    if result.even_steps is not None:
        source = ResampledFrames(stored, result.even_steps)
    check_declared(path, source.shape, source.dtype.itemsize)
    if any(frame.file.unused_low_bits for frame in result.frames):
        source[0]  # pixels may contradict such a header
    modality = result.frames[0].file.modality
    meta = _make_meta(result, notes)
    return Stack(source, result.kind, modality, result.geometry, result.times_s, path, meta=meta)


def _make_video(
    path: Path, group: list[Frame], options: ReadOptions, notes: tuple[str, ...]
) -> Stack:
    """The stack of a file whose pixels are one video stream."""
    refuse_options(path, options, "series")
    video = EncapsulatedVideo(path, group)
    geometry = None
    meta: dict[str, Any] = {}
    if video.has_declared_size:
        geometry, meta = measure_pixels(group[0])
    meta["notes"] = video.notes
    result = SortedFrames(tuple(video.members), "video", geometry, video.times_s, meta)
    meta = _make_meta(result, notes)
    modality = group[0].file.modality
    return Stack(video.source, "video", modality, geometry, video.times_s, path, meta=meta)


def _make_meta(result: SortedFrames, notes: tuple[str, ...]) -> dict[str, Any]:
    """What writers, windows and users may need later. No patient data but an opaque hash."""
    frames = result.frames
    file = frames[0].file
    meta = {
        **_make_references(result),
        "patient_hash": file.patient_hash,
        "study_uid": file.study_uid,
        "series_uid": file.series_uid,
        "frame_of_reference": file.frame_of_reference,
        "series_description": file.description,
        **result.meta,
        "notes": (*notes, *_notes_of_files(frames), *result.meta.get("notes", ())),
    }
    windows = [frame.window for frame in frames if frame.window is not None]
    if windows and file.samples == 1:
        # one window for the stack, though each slice may have its own
        low, high = np.median(np.array(windows), axis=0)
        meta["window"] = (float(low), float(high))
    padding = {frame.padding for frame in frames if frame.padding is not None}
    if padding and file.samples == 1 and not file.has_modality_lut:
        meta["padding"] = tuple(sorted(padding))
    if file.photometric == "MONOCHROME1":
        meta["inverted"] = True
    if file.spacing_source:
        meta["spacing_source"] = file.spacing_source
    return meta


def _make_references(result: SortedFrames) -> dict[str, Any]:
    """The files, and which image each frame of the stack is, if it is one."""
    frames = result.frames
    files = tuple(str(frame.file.path) for frame in frames)
    reason = ""
    if any(frame.tile is not None for frame in frames):
        reason = "its slices are tiles of a mosaic"
    elif result.even_steps is not None:
        reason = "its slices were resampled"
    if reason:
        return {"frame_files": tuple(dict.fromkeys(files)), "without_references": reason}
    return {
        "dicom_files": files,
        "dicom_frames": tuple(frame.index for frame in frames),
        "dicom_uids": tuple(frame.file.sop_uid for frame in frames),
    }


def _notes_of_files(frames: Sequence[Frame]) -> tuple[str, ...]:
    """The distinct notes of all files, in their order."""
    notes = (note for frame in frames for note in frame.file.notes)
    return tuple(dict.fromkeys(notes))


FORMATS = (DicomFile(), DicomFolder(), DicomArchive())
