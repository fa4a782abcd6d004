"""Results of finished cases, one line of JSON each; an interrupted evaluation resumes from them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from segscope.errors import ReadError, UsageError, WriteError

Row = dict[str, Any]


class ResultsLog:
    """Rows by case in an append-only file; each line is on disk before `append` returns.

    Attributes:
        done: rows of each finished case, by its key.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        """Start a log, or resume one of the same evaluation.

        Raises:
            UsageError: the file belongs to another evaluation.
            ReadError: it is not a log of results, or is damaged before its last line.
            WriteError: it cannot be written.
        """
        self.path = path
        self.done: dict[str, list[Row]] = {}
        # as it would be read back, so that tuples and lists compare equal
        self.header = json.loads(json.dumps(header, sort_keys=True))
        try:
            if path.exists():
                self._resume()
            else:
                self._write({"segscope_evaluation": 1, "header": self.header})
        except OSError as error:
            raise WriteError(f"{path} cannot be written: {error.strerror or error}") from error

    def append(self, key: str, rows: Iterable[Row]) -> None:
        """Store the rows of a finished case."""
        self.done[key] = list(rows)
        try:
            self._write({"key": key, "rows": self.done[key]})
        except OSError as error:
            raise WriteError(
                f"{self.path} cannot be written: {error.strerror or error}. Free some space and "
                "run the same command again to resume"
            ) from error

    def rows(self) -> list[Row]:
        """All rows, in an order that does not depend on which case finished first."""
        return [row for key in sorted(self.done) for row in self.done[key]]

    def _write(self, document: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(document) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _resume(self) -> None:
        data = self.path.read_bytes()
        # a line that a crash cut off is dropped, and its case measured again
        whole = data[: data.rfind(b"\n") + 1]
        try:
            first, *lines = map(json.loads, whole.splitlines())
            header = first["header"]
            done = {line["key"]: line["rows"] for line in lines}
        except (ValueError, KeyError, TypeError) as error:
            raise ReadError(
                f"{self.path} is not a log of results, or it is damaged; choose another --out"
            ) from error
        keys = sorted({*header, *self.header})
        changed = [key for key in keys if header.get(key) != self.header.get(key)]
        if changed:
            raise UsageError(
                f"{self.path.parent} holds another evaluation: {', '.join(changed)} differ. "
                "Choose another --out, or remove that folder"
            )
        if len(whole) < len(data):
            with self.path.open("r+b") as file:
                file.truncate(len(whole))
        self.done = done
