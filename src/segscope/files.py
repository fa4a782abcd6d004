"""Files: written atomically and on disk when a call returns, or not at all; folders listed."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segscope.errors import UsageError, WriteError

_SYSTEM_ERROR = re.compile(r"\[Errno \d+\] (?P<reason>[^:]+)")


def list_visible(folder: Path) -> list[Path]:
    """Entries of a folder, sorted and without hidden ones."""
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def check_regular(path: Path) -> None:
    """Refuse a path that is neither free nor a file or folder, as a pipe or a device.

    Raises:
        UsageError: it is something else.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UsageError(f"{path} is a pipe or a device; name a file")


@contextmanager
def atomic(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it on success, remove it otherwise.

    The temporary name keeps the suffix of `path`. A file is synced to disk before the rename, so
    after a crash there is the old file or the new one.

    Raises:
        UsageError: the folder of `path` does not exist, or `path` is a folder where a file is
            expected, a pipe or a device.
        WriteError: the file system refuses.
    """
    check_regular(path)
    parent = path.parent
    if not parent.is_dir():
        raise UsageError(f"the folder {parent} does not exist; create it first")
    if path.is_dir() and not folder:
        raise UsageError(f"{path} is a folder; name a file")
    try:
        workspace = Path(tempfile.mkdtemp(prefix=".segscope-", dir=parent))
    except OSError as error:
        raise WriteError(f"cannot write beside {path}: {error.strerror or error}") from error
    part = workspace / path.name
    replaced = workspace / "replaced"
    try:
        if folder:
            part.mkdir()
        yield part
        sync(part)
        if folder and path.exists():
            path.rename(replaced)
        part.replace(path)
        sync(parent)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {reason_of(error)}") from error
    finally:
        # whatever stopped it, also Ctrl-C: the old folder comes back
        if replaced.exists() and not path.exists():
            replaced.rename(path)
        shutil.rmtree(workspace, ignore_errors=True)


def reason_of(error: OSError) -> str:
    """Why the file system refused, in one line; pydicom wraps its errors and adds a traceback."""
    if error.strerror:
        return error.strerror
    first_line = str(error).partition("\n")[0]
    wrapped = _SYSTEM_ERROR.search(first_line)
    if wrapped:
        return wrapped["reason"]
    return first_line


def sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
