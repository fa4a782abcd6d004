"""Files: written atomically and on disk when a call returns, or not at all; folders listed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segscope.errors import UsageError, WriteError


def list_visible(folder: Path) -> list[Path]:
    """Entries of a folder, sorted and without hidden ones."""
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


@contextmanager
def atomic(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it on success, remove it otherwise.

    The temporary name keeps the suffix of `path`. A file is synced to disk before the rename, so
    after a crash there is the old file or the new one.

    Raises:
        UsageError: the folder of `path` does not exist, or `path` is a folder where a file is
            expected.
        WriteError: the file system refuses.
    """
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
    try:
        if folder:
            part.mkdir()
        yield part
        sync(part)
        if folder and path.exists():
            _replace_folder(path, part, workspace / "replaced")
        else:
            part.replace(path)
        sync(parent)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {reason_of(error)}") from error
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def _replace_folder(path: Path, part: Path, aside: Path) -> None:
    """Replace the folder `path` by `part`; it is restored if that fails."""
    path.rename(aside)
    try:
        part.replace(path)
    except OSError:
        aside.rename(path)
        raise


def reason_of(error: OSError) -> str:
    """Why the file system refused, in one line; pydicom's errors carry a whole traceback."""
    return error.strerror or str(error).partition("\n")[0]


def sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
