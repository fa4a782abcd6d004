"""What an error of SQLite means for the people who run a server."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

_FULL_BYTES = 2**20  # with less room than that, errors of the disk mean that it is full
_PASSING = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
}
_PRIMARY = 0xFF  # the part of an error code that names its kind


def explain(error: sqlite3.Error, path: Path) -> str:
    """The cause of an error, and what to do."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(path.parent)):
        return "the disk is full; make room and try again"
    match code:
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return f"the folder or the disk is read-only, or belongs to another user ({error})"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return "another program holds it open; close that program and try again"
        case sqlite3.SQLITE_IOERR:
            return f"the disk reports an error ({error})"
    return str(error)


def is_passing(error: BaseException | None) -> bool:
    """Whether the surroundings of a database are at fault, and the file may be sound."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY
    return code in _PASSING


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < _FULL_BYTES
    except OSError:
        return False
