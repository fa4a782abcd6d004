"""DICOM files and folders of them: which files are DICOM, and their headers through pydicom."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from segscope.errors import ReadError
from segscope.io.base import MAX_BYTES, reading

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

ByteOrder = Literal["little", "big"]

SUFFIXES = (".dcm", ".dicom", ".ima")
MAX_FILES = 200_000
DEFLATED = "1.2.840.10008.1.2.1.99"
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # in the preamble of a file that is both
_MAX_INFLATION = 1030  # deflate turns one byte into at most 1032
_BYTE_ORDERS: tuple[ByteOrder, ByteOrder] = ("little", "big")

_quiet_lock = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom's warnings about sloppy values; what matters is checked here."""
    with _quiet_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def has_dicom_suffix(path: Path) -> bool:
    """Whether the name is one that DICOM files have."""
    return path.name.lower().endswith(SUFFIXES)


def looks_like_dicom(path: Path) -> bool:
    """Whether the first bytes are those of a DICOM file, with or without its preamble.

    Only regular files are opened: a pipe would wait for ever.
    """
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(132)
    except OSError:
        return False
    if head[128:132] == b"DICM":
        return True
    # without a preamble the file starts with an element of group 2 or 8, in either byte order
    return len(head) >= 12 and any(_starts_with_element(head, order) for order in _BYTE_ORDERS)


def _starts_with_element(head: bytes, byte_order: ByteOrder) -> bool:
    group = int.from_bytes(head[:2], byte_order)
    element = int.from_bytes(head[2:4], byte_order)
    return group in (2, 8) and element in (0, 1, 5, 8, 0x16)


def list_files(folder: Path) -> list[Path]:
    """All files of a folder and its sub-folders in a stable order, without hidden ones."""
    files: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(parent, name) for name in sorted(names) if not name.startswith(".")]
        if len(files) > MAX_FILES:
            raise ReadError(
                f"{folder} holds more than {MAX_FILES:,} files; name the folder of one series"
            )
    return files


def read_header(path: Path, tags: list[str] | None = None) -> Dataset:
    """The pydicom data set of a file without its pixels; call it inside `quiet`."""
    import pydicom

    with reading(path, "a DICOM file"):
        syntax = ""
        if has_dicom_mark(path):
            meta = pydicom.filereader.read_file_meta_info(path)
            syntax = str(meta.get("TransferSyntaxUID"))
        if syntax == DEFLATED and path.stat().st_size * _MAX_INFLATION > MAX_BYTES:
            raise ReadError(
                f"{path} is deflated as a whole and could inflate beyond the limit; "
                "decompress it first"
            )
        with path.open("rb") as file:
            data = pydicom.dcmread(
                file,
                stop_before_pixels=True,
                force=True,
                specific_tags=tags,  # type: ignore[arg-type] # list is invariant
            )
            if syntax != DEFLATED:
                data.pixels_start = file.tell()
        return data


def has_dicom_mark(path: Path) -> bool:
    """Whether a file has the mark "DICM" behind its preamble."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def is_dicom(path: Path) -> bool:
    """Whether a file has the mark of DICOM, and is not a TIFF file as well by its preamble."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError:
        return False
    return head[128:] == b"DICM" and not head.startswith(_TIFF_MAGIC)
