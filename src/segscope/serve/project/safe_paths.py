"""Paths that clients may name: below a root, with every symbolic link resolved."""

from __future__ import annotations

import glob
import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from segscope.errors import UsageError
from segscope.files import list_visible
from segscope.io.paths import find_path, lies_within, resolve_links
from segscope.serve.errors import NotFound, Refused

_CHUNK = 2**20
_UNSAFE = re.compile(r"[^\w.\- ()]")  # all but letters, digits and these
_LONGEST_NAME = 120


def resolve_below(roots: Sequence[Path], root: int, relative: str) -> Path:
    """The file or folder at a path relative to a root.

    Raises:
        NotFound: no such root, or nothing at that path.
        Refused: it lies outside of the root.
    """
    if not 0 <= root < len(roots):
        raise NotFound(f"no root {root}; this server has {len(roots)}")
    base = roots[root].resolve()
    if "\0" in relative:
        raise UsageError("a path must not contain a null byte")
    try:
        path = find_path(base / relative)
        is_inside = lies_within(path, base)
        exists = path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"invalid path ({type(error).__name__})") from error
    if not is_inside:
        raise Refused(
            "this path leads outside of its root; name a path that is relative to the root and "
            "stays below it"
        )
    if not exists:
        raise NotFound("this root has no file or folder of that name")
    return resolve_links(path)


def check_links(path: Path, base: Path) -> None:
    """Refuse an image with links to other places: in its folder, or in files named like it.

    Raises:
        Refused: a link leads outside of the root.
    """
    base = base.resolve()
    if path.is_dir():
        entries = path.rglob("*")
    else:
        entries = path.parent.glob(f"{glob.escape(path.name.partition('.')[0])}.*")
    for entry in entries:
        if entry.is_symlink() and not lies_within(entry, base):
            raise Refused("this folder contains a link that leads outside of its root")


def safe_name(name: str | None) -> str:
    """The last part of a client's file name, with harmless characters only.

    The endings, by which readers recognise formats, are preserved.
    """
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    return _UNSAFE.sub("_", last).lstrip(". ")[-_LONGEST_NAME:] or "upload"


def content_hash(path: Path) -> str:
    """SHA-256 of a file; of a folder, that of the names and hashes of its files."""
    digest = hashlib.sha256()
    if path.is_file():
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()
    for member in files_below(path):
        digest.update(f"{member.relative_to(path).as_posix()}\0{content_hash(member)}\n".encode())
    return digest.hexdigest()


def fingerprint(path: Path) -> str:
    """A hash of the sizes and times of a file, or of the files of a folder."""
    files = [path]
    if not path.is_file():
        files = list(files_below(path))
    digest = hashlib.sha256()
    for file in files:
        status = file.stat()
        digest.update(f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def files_below(path: Path) -> Iterator[Path]:
    """Files in and below a folder in order, without hidden ones."""
    for entry in list_visible(path):
        if entry.is_dir() and not entry.is_symlink():
            yield from files_below(entry)
        elif entry.is_file():
            yield entry


def discard(path: Path) -> None:
    """Remove a file or folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
