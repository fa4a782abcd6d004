"""A DICOM file in gzip (.dcm.gz), inflated into a temporary folder while its stack is in use."""

from __future__ import annotations

import gzip
import shutil
import zlib
from dataclasses import replace
from pathlib import Path

from segscope.errors import ReadError
from segscope.io.base import MAX_BYTES, FileFormat, ReadOptions, check_file
from segscope.io.dicom.reader import DicomFile
from segscope.io.frame_source import TemporaryFrames
from segscope.io.unzip import TemporaryFolder, UnpackedPath
from segscope.stack import Stack

_CHUNK = 2**22
_MARK = b"DICM"
_PREAMBLE_BYTES = 128


class GzippedDicom(FileFormat):
    """A DICOM file in gzip, recognised by what is inside."""

    name = "DICOM file in gzip"
    suffixes = (".gz",)

    def recognises(self, path: Path) -> bool:
        return super().recognises(path) and _holds_dicom(path)

    def read(self, path: Path, options: ReadOptions) -> Stack:
        """Read as the file inside.

        Raises:
            ReadError: damaged, larger than the limits, or not an image.
            UsageError: the file is a segmentation, or a choice is missing.
        """
        check_file(path)
        folder = TemporaryFolder()
        file = folder.path / path.stem
        _inflate(path, file)
        unpacked = UnpackedPath(file, str(path))
        with unpacked.naming_origin():
            stack = DicomFile().read(file, options)
        return replace(
            stack,
            source=TemporaryFrames(stack.source, folder, unpacked),
            path=path,
            meta={**stack.meta, "unpacked_folder": folder},
        )


def _holds_dicom(path: Path) -> bool:
    try:
        with gzip.open(path) as inflated:
            head = inflated.read(_PREAMBLE_BYTES + len(_MARK))
    except (OSError, EOFError, zlib.error):
        return False
    return head[_PREAMBLE_BYTES:] == _MARK


def _inflate(path: Path, target: Path) -> None:
    """Write what a gzip file holds, within the limit of one file and half of the free space."""
    limit = min(MAX_BYTES, shutil.disk_usage(target.parent).free // 2)
    count = 0
    try:
        with gzip.open(path) as inflated, target.open("wb") as file:
            while chunk := inflated.read(_CHUNK):
                count += len(chunk)
                if count > limit:
                    raise ReadError(
                        f"{path} inflates to more than {limit / 2**30:.1f} GiB, the limit or half "
                        "of the free space for temporary files; unpack it elsewhere"
                    )
                file.write(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ReadError(
            f"{path} is cut off or damaged ({error}); copy or export it again"
        ) from error


FORMATS = (GzippedDicom(),)
