"""Video streams inside DICOM files (MPEG-2, H.264, HEVC), decoded as videos."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError
from segscope.io.base import reading
from segscope.io.dicom.files import quiet, read_header
from segscope.io.dicom.records import DicomInstance, Frame
from segscope.io.frame_source import TemporaryFrames
from segscope.io.unzip import TemporaryFolder, UnpackedPath

if TYPE_CHECKING:
    from segscope.io.video.reader import VideoFrames

_ELEMENT_BYTES = 12  # tag, representation and length before the items of encapsulated pixels
_ITEM_BYTES = 8  # tag and length
_CHUNK = 2**20


class EncapsulatedVideo:
    """The frames of a video in a DICOM file, and what its header and its stream say about them.

    Attributes:
        source: the frames (row, column, 3), RGB.
        members: one record for each frame.
        has_declared_size: whether the stream has the rows and columns of the header.
        times_s: of each frame.
        notes: what header and stream contradict each other in, and what is wrong with the stream.
    """

    def __init__(self, path: Path, members: Sequence[Frame]) -> None:
        from segscope.io.video.reader import VideoFrames

        file = members[0].file
        folder = TemporaryFolder()
        stream = folder.path / "stream"
        with quiet(), reading(file.path, "a DICOM video"):
            _extract_stream(file, stream)
        unpacked = UnpackedPath(stream, f"the video in {path}")
        with unpacked.naming_origin():
            frames = VideoFrames(stream)
        self.source = TemporaryFrames(frames, folder, unpacked)
        self.members = [replace(members[0], index=index) for index in range(len(frames))]
        self.has_declared_size = frames.index.size_hw == (file.rows, file.columns)
        self.times_s = _choose_times(file, frames)
        self.notes = (*_compare(file, frames), *frames.index.meta.get("notes", ()))


def _choose_times(file: DicomInstance, frames: VideoFrames) -> NDArray[np.float64] | None:
    """The times of the header where it has one for each frame, else those of the stream: a bare
    stream has none of its own.
    """
    if file.times_s is not None and len(file.times_s) == len(frames):
        return np.array(file.times_s)
    return frames.index.times_s


def _compare(file: DicomInstance, frames: VideoFrames) -> list[str]:
    notes = []
    if file.frames != len(frames):
        notes.append(
            f"the header declares {file.frames} frames, but the video has {len(frames)}: its "
            "frames were read"
        )
    rows, columns = frames.index.size_hw
    if (rows, columns) != (file.rows, file.columns):
        notes.append(
            f"the header declares {file.rows} x {file.columns} pixels (rows x columns), but the "
            f"video has {rows} x {columns}: their size in millimetres is unknown"
        )
    return notes


def _extract_stream(file: DicomInstance, path: Path) -> None:
    """Write the fragments of a file, which are parts of one stream, to `path`."""
    start = int(read_header(file.path, ["SOPClassUID"]).pixels_start)
    with file.path.open("rb") as source, path.open("xb") as target:
        source.seek(start + _ELEMENT_BYTES)
        source.seek(_read_item_length(source), 1)  # past the table of offsets
        while length := _read_item_length(source):
            while length:
                part = source.read(min(length, _CHUNK))
                if not part:
                    raise ReadError(f"{file.path} is cut off in its video; copy it again")
                target.write(part)
                length -= len(part)


def _read_item_length(source: IO[bytes]) -> int:
    """Bytes of the next item; 0 at the end of the sequence."""
    head = source.read(_ITEM_BYTES)
    if len(head) < _ITEM_BYTES:
        return 0
    group, element, length = struct.unpack("<HHI", head)
    if (group, element) == (0xFFFE, 0xE0DD):
        return 0
    if (group, element) != (0xFFFE, 0xE000):
        raise ValueError(f"expected an item of its video, found tag {group:04X},{element:04X}")
    return int(length)
