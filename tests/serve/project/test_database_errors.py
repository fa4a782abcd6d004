"""Errors of the database name their cause."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest

from segscope.errors import ReadError, WriteError
from segscope.serve.project import database
from segscope.serve.project.database import Database
from segscope.serve.project.database_errors import explain


def sqlite_error(code: int, message: str) -> sqlite3.Error:
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "free_bytes", "cause"),
    [
        (sqlite3.SQLITE_FULL, 2**40, "the disk is full"),
        (sqlite3.SQLITE_IOERR_SHMSIZE, 4096, "the disk is full"),
        (sqlite3.SQLITE_IOERR_READ, 2**40, "the disk reports an error"),
        (sqlite3.SQLITE_READONLY_DIRECTORY, 2**40, "read-only"),
        (sqlite3.SQLITE_CANTOPEN, 2**40, "read-only"),
        (sqlite3.SQLITE_BUSY, 2**40, "another program"),
        (sqlite3.SQLITE_ERROR, 2**40, "as SQLite has it"),
    ],
)
def test_causes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, free_bytes: int, cause: str
) -> None:
    usage = SimpleNamespace(free=free_bytes)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    error = sqlite_error(code, "as SQLite has it")
    assert cause in explain(error, tmp_path / "project.sqlite")


def test_a_database_that_another_program_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    path = tmp_path / "project.sqlite"
    mine = Database(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(WriteError, match="another program holds it open"):
        mine.put("name", "x")
    other.execute("ROLLBACK")
    mine.put("name", "x")
    mine.close()
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(ReadError, match="another program holds it open"):
        Database(path)
    other.close()
