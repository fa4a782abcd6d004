"""Zip archives: unpacked within limits, and only into one folder."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import stat
import struct
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from segscope.errors import ReadError, SegscopeError

_CHUNK = 2**20
_DRIVE = re.compile("[A-Za-z]:")
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


class ArchiveTooLarge(ReadError):
    """An archive with more members or bytes than its limits allow."""


class UnsafeArchive(ReadError):
    """An archive with a link, or with a member that would be written elsewhere."""


@dataclass(frozen=True, slots=True)
class UnzipLimits:
    """What an archive may hold.

    Attributes:
        members: number of files.
        bytes: size of all of them, unpacked.
    """

    members: int
    bytes: int


class TemporaryFolder:
    """A folder that is removed with the last reference to it.

    A copy of it in another process names the same folder, and does not remove it.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="segscope-"))
        weakref.finalize(self, _remove_folder, self.path, os.getpid())


def _remove_folder(path: Path, owner: int) -> None:
    """Remove a folder, unless this is a fork of the process that owns it."""
    if os.getpid() == owner:
        shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class UnpackedPath:
    """A temporary file or folder, and what messages call it.

    Attributes:
        path: where it was unpacked.
        origin: the archive it comes from.
    """

    path: Path
    origin: str

    def rename(self, message: str) -> str:
        """The message with the archive in place of the temporary path."""
        return message.replace(str(self.path), self.origin)

    @contextmanager
    def naming_origin(self) -> Iterator[None]:
        """Name the archive in the errors of the block."""
        try:
            yield
        except SegscopeError as error:
            error.args = (self.rename(str(error)),)
            raise


def unpack(
    archive: Path,
    folder: Path,
    limits: UnzipLimits,
    *,
    rename: Callable[[str], str] = str,
) -> None:
    """Write the files of a zip into a folder and folders below it; links and the rest are refused.

    Args:
        archive: the zip.
        folder: an existing one.
        limits: declared sizes are checked before anything is written, real ones on the way.
        rename: applied to each part of a member's path.

    Raises:
        ArchiveTooLarge: it has more members or bytes than the limits allow.
        UnsafeArchive: a member is a link, or would be written elsewhere.
        ReadError: the archive is damaged.
    """
    try:
        with zipfile.ZipFile(archive) as zip_file:
            members = [member for member in zip_file.infolist() if not member.is_dir()]
            _check_declared_size(members, limits)
            remaining = limits.bytes
            for member in members:
                target = folder.joinpath(*map(rename, _safe_parts(member)))
                target.parent.mkdir(parents=True, exist_ok=True)
                written = _unpack_member(zip_file, member, target, remaining)
                if written > remaining:
                    raise _too_large(limits)
                remaining -= written
    except _DAMAGED as error:
        raise ReadError(f"the archive cannot be unpacked: {error}") from error
    except FileExistsError as error:
        raise ReadError("the archive contains two files of the same name") from error
    except OSError as error:
        raise ReadError(f"the archive cannot be unpacked: {error.strerror or error}") from error


def _check_declared_size(members: list[zipfile.ZipInfo], limits: UnzipLimits) -> None:
    if len(members) > limits.members:
        raise ArchiveTooLarge(
            f"the archive contains {len(members)} files; at most {limits.members} are accepted"
        )
    if sum(member.file_size for member in members) > limits.bytes:
        raise _too_large(limits)


def _unpack_member(
    zip_file: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    target: Path,
    remaining: int,
) -> int:
    """Write a member; bytes read. Archives may contain more than they declare."""
    count = 0
    with zip_file.open(member) as source, target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            count += len(chunk)
            if count > remaining:
                return count
            file.write(chunk)
    return count


def _too_large(limits: UnzipLimits) -> ArchiveTooLarge:
    return ArchiveTooLarge(f"the archive unpacks to more than {limits.bytes} bytes")


def _safe_parts(member: zipfile.ZipInfo) -> tuple[str, ...]:
    """Folders and name of a member.

    Raises:
        UnsafeArchive: it is a link, or its path leads out of the folder.
    """
    name = member.filename.replace("\\", "/")
    parts = PurePosixPath(name.replace(":", "_")).parts  # Windows allows no colon in a name
    mode = member.external_attr >> 16
    leads_out = _DRIVE.match(name) is not None or not {"..", "/"}.isdisjoint(parts)
    if stat.S_ISLNK(mode) or leads_out or not parts:
        raise UnsafeArchive(
            "the archive contains a link or a path that leads out of it; nothing was stored"
        )
    return parts
