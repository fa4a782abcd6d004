"""Store: the SQLite file of a project. Rows are plain dictionaries; one connection, one writer at a
time.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segscope.errors import ReadError, WriteError

Row = dict[str, Any]
VERSION = 1
_SCHEMA = """
CREATE TABLE project (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE images (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, origin TEXT NOT NULL, path TEXT NOT NULL, options TEXT NOT NULL,
    meta TEXT NOT NULL, created REAL NOT NULL);
CREATE TABLE hashes (path TEXT PRIMARY KEY, mark TEXT NOT NULL, sha256 TEXT NOT NULL);
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, image_id TEXT NOT NULL REFERENCES images(id), annotator TEXT NOT NULL, model TEXT NOT NULL,
    axis INTEGER NOT NULL, window TEXT, options TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL,
    commands INTEGER NOT NULL DEFAULT 0, seconds REAL NOT NULL DEFAULT 0, lease TEXT, erased INTEGER NOT NULL DEFAULT 0,
    pending TEXT);
CREATE INDEX sessions_image ON sessions(image_id);
CREATE TABLE flags (
    session_id TEXT NOT NULL REFERENCES sessions(id), frame INTEGER NOT NULL, comment TEXT NOT NULL,
    PRIMARY KEY (session_id, frame));
CREATE TABLE cases (
    id INTEGER PRIMARY KEY AUTOINCREMENT, image_id TEXT NOT NULL UNIQUE REFERENCES images(id),
    state TEXT NOT NULL DEFAULT 'todo', comment TEXT NOT NULL DEFAULT '', annotator TEXT NOT NULL DEFAULT '',
    updated REAL NOT NULL);
"""
_JSON = {"options", "meta", "window", "pending"}


class Store:
    """Rows of a project; every change is on disk when its call returns."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            ReadError: not a project, or one of a later version.
        """
        self.path = path
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(
                path, check_same_thread=False, isolation_level=None, timeout=30
            )
            self._connection.row_factory = sqlite3.Row
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._migrate()
        except sqlite3.DatabaseError as error:
            raise ReadError(f"{path} is not a segscope project, or is damaged: {error}") from error

    def _migrate(self) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise ReadError(
                f"{self.path} was made by a later segscope (project version {version}, this one knows {VERSION}); "
                "update segscope"
            )
        if version == 0:
            self._connection.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA user_version={VERSION}; COMMIT;"
            )

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise WriteError(f"cannot write {self.path}: {error}") from error
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    # --- rows ------------------------------------------------------------------------------------

    def rows(self, query: str, *values: Any) -> list[Row]:
        """Rows of a query, JSON columns decoded."""
        with self._lock:
            found = self._connection.execute(query, values).fetchall()
        return [_row(row) for row in found]

    def row(self, query: str, *values: Any) -> Row | None:
        """The first row of a query, or None."""
        found = self.rows(query, *values)
        if found:
            return found[0]
        return None

    def insert(self, table: str, row: Mapping[str, Any], *, otherwise: str = "") -> int:
        """Add a row; `otherwise` is SQL's conflict clause ("OR IGNORE", "OR REPLACE"). Gives its
        number.
        """
        keys = ", ".join(row)
        marks = ", ".join("?" * len(row))
        values = [_plain(key, value) for key, value in row.items()]
        with self._write() as connection:
            done = connection.execute(
                f"INSERT {otherwise} INTO {table} ({keys}) VALUES ({marks})", values
            )
            return int(done.lastrowid or 0)

    def update(self, table: str, key: Any, changes: Mapping[str, Any]) -> None:
        """Change the row whose id is `key`."""
        if not changes:
            return
        sets = ", ".join(f"{name} = ?" for name in changes)
        values = [_plain(name, value) for name, value in changes.items()]
        with self._write() as connection:
            connection.execute(f"UPDATE {table} SET {sets} WHERE id = ?", [*values, key])

    def delete(self, table: str, **where: Any) -> None:
        """Remove rows."""
        clause = " AND ".join(f"{name} = ?" for name in where)
        with self._write() as connection:
            connection.execute(f"DELETE FROM {table} WHERE {clause}", list(where.values()))

    # --- what belongs to the whole ---------------------------------------------------------------

    def get(self, key: str, default: Any = None) -> Any:
        """A value of the project."""
        found = self.row("SELECT value FROM project WHERE key = ?", key)
        if found is None:
            return default
        return json.loads(found["value"])

    def put(self, key: str, value: Any) -> None:
        """Keep a value of the project."""
        self.insert("project", {"key": key, "value": json.dumps(value)}, otherwise="OR REPLACE")


def _row(row: sqlite3.Row) -> Row:
    return {
        key: json.loads(row[key]) if key in _JSON and row[key] is not None else row[key]
        for key in row.keys()  # noqa: SIM118 - a Row iterates over its values
    }


def _plain(key: str, value: Any) -> Any:
    if key in _JSON and value is not None:
        return json.dumps(value)
    return value


def now() -> float:
    """Seconds since 1970."""
    return time.time()
