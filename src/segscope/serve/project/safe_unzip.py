"""Unpacking archives that clients upload, within limits and only into one folder."""

from __future__ import annotations

import lzma
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from segscope.errors import ReadError
from segscope.serve.errors import Refused, TooLarge
from segscope.serve.project.safe_paths import safe_name
from segscope.serve.settings import Limits

_CHUNK = 2**20
_DAMAGED = (  # what the standard library raises for damaged or foreign archives
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    KeyError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)


def unpack(archive: Path, folder: Path, limits: Limits) -> None:
    """Write the files of a zip into a folder and folders below it; links and the rest are refused.

    Raises:
        ReadError: the archive is damaged.
        TooLarge: it has more members or bytes than the limits allow.
        Refused: a member would be written elsewhere.
    """
    try:
        with zipfile.ZipFile(archive) as zip_file:
            members = [member for member in zip_file.infolist() if not member.is_dir()]
            _check_declared_size(members, limits)
            remaining = limits.unpacked_bytes
            for member in members:
                target = _target(folder, member)
                target.parent.mkdir(parents=True, exist_ok=True)
                remaining -= _unpack_member(zip_file, member, target, remaining, limits)
    except _DAMAGED as error:
        raise ReadError(f"the archive cannot be unpacked: {error}") from error
    except FileExistsError as error:
        raise ReadError("the archive contains two files of the same name") from error
    except OSError as error:
        raise ReadError(f"the archive cannot be unpacked: {error.strerror or error}") from error


def _check_declared_size(members: list[zipfile.ZipInfo], limits: Limits) -> None:
    if len(members) > limits.zip_members:
        raise TooLarge(
            f"the archive contains {len(members)} files; the server accepts at most "
            f"{limits.zip_members}"
        )
    if sum(member.file_size for member in members) > limits.unpacked_bytes:
        raise _too_large(limits)


def _unpack_member(
    zip_file: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    target: Path,
    remaining: int,
    limits: Limits,
) -> int:
    """Write a member; bytes written. Archives may contain more than they declare."""
    written = 0
    with zip_file.open(member) as source, target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > remaining:
                raise _too_large(limits)
            file.write(chunk)
    return written


def _too_large(limits: Limits) -> TooLarge:
    return TooLarge(f"the archive unpacks to more than {limits.unpacked_bytes} bytes")


def _target(folder: Path, member: zipfile.ZipInfo) -> Path:
    """Where a member is written.

    Raises:
        Refused: it is a link, or its path leads out of the folder.
    """
    parts = PurePosixPath(member.filename.replace("\\", "/")).parts
    mode = member.external_attr >> 16
    leads_out = ":" in member.filename or not {"..", "/"}.isdisjoint(parts)
    if stat.S_ISLNK(mode) or leads_out or not parts:
        raise Refused(
            "the archive contains a link or a path that leads out of it; nothing was stored"
        )
    return folder.joinpath(*map(safe_name, parts))
