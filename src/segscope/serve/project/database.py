"""The SQLite file of a project: rows are dictionaries; one connection, one writer at a time.

The logs of the sessions are the truth about the work; the database finds them, and can be rebuilt
from them.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import starmap
from pathlib import Path
from typing import Any

from segscope.errors import ReadError, WriteError
from segscope.serve.project.database_errors import explain

Row = dict[str, Any]
"""A row by column; which columns there are depends on the query."""
VERSION = 2
_SCHEMA = """
CREATE TABLE project (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE images (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, origin TEXT NOT NULL, path TEXT NOT NULL,
    options TEXT NOT NULL, meta TEXT NOT NULL, created REAL NOT NULL);
CREATE TABLE hashes (path TEXT PRIMARY KEY, mark TEXT NOT NULL, sha256 TEXT NOT NULL);
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, image_id TEXT NOT NULL REFERENCES images(id), annotator TEXT NOT NULL,
    model TEXT NOT NULL, axis INTEGER NOT NULL, window TEXT, options TEXT NOT NULL,
    created REAL NOT NULL, updated REAL NOT NULL, commands INTEGER NOT NULL DEFAULT 0,
    seconds REAL NOT NULL DEFAULT 0, lease TEXT, erased INTEGER NOT NULL DEFAULT 0, pending TEXT,
    used INTEGER NOT NULL DEFAULT 0);
CREATE INDEX sessions_image ON sessions(image_id);
CREATE INDEX sessions_used ON sessions(used);
CREATE TABLE flags (
    session_id TEXT NOT NULL REFERENCES sessions(id), frame INTEGER NOT NULL,
    comment TEXT NOT NULL, PRIMARY KEY (session_id, frame));
CREATE TABLE cases (
    id INTEGER PRIMARY KEY AUTOINCREMENT, image_id TEXT NOT NULL UNIQUE REFERENCES images(id),
    state TEXT NOT NULL DEFAULT 'todo', comment TEXT NOT NULL DEFAULT '',
    annotator TEXT NOT NULL DEFAULT '', updated REAL NOT NULL);
"""
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")
_JSON_COLUMNS = {"options", "meta", "window", "pending"}
BUSY_S = 5.0  # how long a change waits for another program that holds the file
REPAIR_HINT = "stop the server and run `segscope repair` on the folder of the project"


class OtherProjectVersion(ReadError):
    """A project that another version of segscope wrote."""


class Database:
    """The database of a project; every change is on disk when its call returns."""

    def __init__(self, path: Path) -> None:
        """Open the file, or create it.

        Raises:
            ReadError: not a project, damaged, or one of a later version.
        """
        self.path = path
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(
                path, check_same_thread=False, isolation_level=None, timeout=BUSY_S
            )
            self._connection.row_factory = sqlite3.Row
            for pragma in _PRAGMAS:
                self._connection.execute(f"PRAGMA {pragma}")
            self._create_tables()
            self._check()
        except sqlite3.OperationalError as error:
            raise ReadError(f"cannot open {path}: {explain(error, path)}") from error
        except sqlite3.DatabaseError as error:
            raise ReadError(
                f"{path} is not a segscope project, or is damaged: {error}; {REPAIR_HINT}"
            ) from error

    def _check(self) -> None:
        faults = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if faults != "ok":
            reason = " ".join(faults.split())
            cause = sqlite3.DatabaseError(reason)
            raise ReadError(f"{self.path} is damaged: {reason}; {REPAIR_HINT}") from cause

    def _create_tables(self) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise OtherProjectVersion(
                f"{self.path} was written by a later segscope (project version {version}; this one "
                f"reads version {VERSION}); update segscope"
            )
        if 0 < version < VERSION:
            raise OtherProjectVersion(
                f"{self.path} was written by an earlier segscope (project version {version}; this "
                f"one reads version {VERSION}); begin a new project"
            )
        if version == 0:
            self._connection.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA user_version={VERSION}; COMMIT;"
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._roll_back()
                cause = explain(error, self.path)
                raise WriteError(f"cannot write {self.path}: {cause}") from error
            except BaseException:
                self._roll_back()
                raise

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    # --- rows ------------------------------------------------------------------------------------

    def rows(self, query: str, *values: object) -> list[Row]:
        """Rows of a query, with JSON columns decoded."""
        try:
            with self._lock:
                rows = self._connection.execute(query, values).fetchall()
        except sqlite3.OperationalError as error:
            raise ReadError(f"cannot read {self.path}: {explain(error, self.path)}") from error
        except sqlite3.DatabaseError as error:
            raise ReadError(f"{self.path} is damaged: {error}; {REPAIR_HINT}") from error
        return list(map(_decode_row, rows))

    def row(self, query: str, *values: object) -> Row | None:
        """The first row of a query, or None."""
        rows = self.rows(query, *values)
        if not rows:
            return None
        return rows[0]

    def insert(self, table: str, row: Mapping[str, object], *, otherwise: str = "") -> int:
        """Add a row; its number.

        Args:
            table: name of the table.
            row: values by column.
            otherwise: SQL's conflict clause, "OR IGNORE" or "OR REPLACE".
        """
        columns = ", ".join(row)
        placeholders = ", ".join("?" * len(row))
        values = list(starmap(_encode, row.items()))
        with self._transaction() as connection:
            cursor = connection.execute(
                f"INSERT {otherwise} INTO {table} ({columns}) VALUES ({placeholders})", values
            )
            return int(cursor.lastrowid or 0)

    def update(self, table: str, key: str | int, changes: Mapping[str, object]) -> None:
        """Change the row whose id is `key`."""
        if not changes:
            return
        assignments = ", ".join(f"{column} = ?" for column in changes)
        values = list(starmap(_encode, changes.items()))
        with self._transaction() as connection:
            connection.execute(f"UPDATE {table} SET {assignments} WHERE id = ?", [*values, key])

    def count_use(self, session_id: str, changes: Mapping[str, object]) -> None:
        """Change the row of a session and make it the one that was used last.

        The order is a counter, because the clock of the machine may be set back.
        """
        assignments = "".join(f"{column} = ?, " for column in changes)
        values = list(starmap(_encode, changes.items()))
        with self._transaction() as connection:
            connection.execute(
                f"UPDATE sessions SET {assignments} used = 1 + (SELECT MAX(used) FROM sessions) "
                "WHERE id = ?",
                [*values, session_id],
            )

    def delete(self, table: str, **where: object) -> None:
        """Remove the rows with these values."""
        clause = " AND ".join(f"{column} = ?" for column in where)
        with self._transaction() as connection:
            connection.execute(f"DELETE FROM {table} WHERE {clause}", list(where.values()))

    # --- values of the project -------------------------------------------------------------------

    def get(self, key: str, default: Any = None) -> Any:
        """A value of the project, which may be any JSON."""
        row = self.row("SELECT value FROM project WHERE key = ?", key)
        if row is None:
            return default
        return json.loads(row["value"])

    def put(self, key: str, value: object) -> None:
        """Store a value of the project."""
        self.insert("project", {"key": key, "value": json.dumps(value)}, otherwise="OR REPLACE")


def _decode_row(row: sqlite3.Row) -> Row:
    values: Row = dict(zip(row.keys(), row, strict=True))
    for column in _JSON_COLUMNS & values.keys():
        if values[column] is not None:
            values[column] = json.loads(values[column])
    return values


def _encode(column: str, value: object) -> object:
    if column in _JSON_COLUMNS and value is not None:
        return json.dumps(value)
    return value


def now() -> float:
    """Seconds since 1970."""
    return time.time()
