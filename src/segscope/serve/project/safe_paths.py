"""Paths that clients may name: below a root, after every symbolic link; and what an uploaded
archive may hold.
"""

from __future__ import annotations

import glob
import hashlib
import lzma
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from segscope.errors import ReadError, UsageError
from segscope.serve.errors import NotFound, Refused, TooLarge
from segscope.serve.settings import Limits

_CHUNK = 2**20
_DAMAGED = (  # what the standard library raises for archives that are none
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, KeyError, NotImplementedError,
    OverflowError, RuntimeError, ValueError,
)  # fmt: skip


def below(roots: Sequence[Path], root: int, relative: str) -> Path:
    """The file or folder `relative` of a root.

    Raises:
        NotFound: no such root, or nothing there.
        Refused: it lies outside of the root.
    """
    if not 0 <= root < len(roots):
        raise NotFound(f"no root {root}; this server has {len(roots)}")
    base = roots[root].resolve()
    if "\0" in relative:
        raise UsageError("a path holds no zero byte")
    try:
        path = (base / relative).resolve()
        there = path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"not a path: {type(error).__name__}") from error
    if not path.is_relative_to(base):
        raise Refused(
            "this path leads outside of its root; files are named relative to a root, and stay below it"
        )
    if not there:
        raise NotFound("nothing of that name below this root")
    return path


def check_links(path: Path, base: Path) -> None:
    """Refuse an image whose other files lie elsewhere: links in its folder, or beside it under its
    name.

    Raises:
        Refused: a link leads outside of the root.
    """
    base = base.resolve()
    if path.is_dir():
        entries = path.rglob("*")
    else:
        entries = path.parent.glob(f"{glob.escape(path.name.partition('.')[0])}.*")
    for entry in entries:
        if entry.is_symlink() and not entry.resolve().is_relative_to(base):
            raise Refused("a link in this folder leads outside of its root")


def content_hash(path: Path) -> str:
    """SHA-256 of a file; of a folder, that of its files' names and hashes."""
    digest = hashlib.sha256()
    if path.is_file():
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()
    for member in files_below(path):
        digest.update(f"{member.relative_to(path).as_posix()}\0{content_hash(member)}\n".encode())
    return digest.hexdigest()


def mark_of(path: Path) -> str:
    """What changes when a file or the files of a folder change: sizes and times."""
    if path.is_file():
        files = [path]
    else:
        files = list(files_below(path))
    digest = hashlib.sha256()
    for file in files:
        about = file.stat()
        digest.update(f"{file.name}\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def files_below(path: Path) -> Iterator[Path]:
    """Files of a folder and its sub-folders in order, hidden ones left out."""
    for entry in sorted(path.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir() and not entry.is_symlink():
            yield from files_below(entry)
        elif entry.is_file():
            yield entry


def safe_name(name: str | None) -> str:
    """The last part of a name that a client gave, with harmless characters only; what readers judge
    by is kept.
    """
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    kept = "".join(
        character if character.isalnum() or character in "._- ()" else "_" for character in last
    )
    return kept.lstrip(". ")[-120:] or "upload"


def unpack(archive: Path, folder: Path, limits: Limits) -> None:
    """The files of a zip, flat in folders below `folder`; nothing else of it.

    Raises:
        ReadError: damaged.
        TooLarge: more members or bytes than the limits.
        Refused: members that would lie elsewhere.
    """
    total = 0
    try:
        with zipfile.ZipFile(archive) as packed:
            members = [member for member in packed.infolist() if not member.is_dir()]
            if len(members) > limits.zip_members:
                raise TooLarge(
                    f"the archive holds {len(members)} files; at most {limits.zip_members} are taken"
                )
            if sum(member.file_size for member in members) > limits.unpacked_bytes:
                raise TooLarge(f"the archive unpacks to more than {limits.unpacked_bytes} bytes")
            for member in members:
                target = _target(folder, member)
                target.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(member) as source, target.open("xb") as file:
                    while chunk := source.read(_CHUNK):
                        total += len(chunk)
                        if total > limits.unpacked_bytes:
                            raise TooLarge(
                                f"the archive unpacks to more than {limits.unpacked_bytes} bytes"
                            )
                        file.write(chunk)
    except _DAMAGED as error:
        raise ReadError(f"the archive cannot be unpacked: {error}") from error
    except FileExistsError as error:
        raise ReadError("the archive holds two files of one name") from error
    except OSError as error:
        raise ReadError(f"the archive cannot be unpacked: {error.strerror or error}") from error


def _target(folder: Path, member: zipfile.ZipInfo) -> Path:
    parts = PurePosixPath(member.filename.replace("\\", "/")).parts
    mode = member.external_attr >> 16
    if stat.S_ISLNK(mode) or any(part in ("..", "/") or ":" in part for part in parts) or not parts:
        raise Refused(
            "the archive holds a link or a path that leads out of it; nothing of it was taken"
        )
    return folder.joinpath(*(safe_name(part) for part in parts))


def discard(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def described(path: Path, base: Path) -> dict[str, Any]:
    """A row of a listing."""
    return {"name": path.name, "path": path.relative_to(base).as_posix()}
