"""DatabaseCopies: a copy of a project's database a day, from which `segscope repair` starts."""

from __future__ import annotations

import logging
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from segscope.errors import ReadError, SegscopeError
from segscope.files import atomic
from segscope.serve.project.database import Database

log = logging.getLogger("segscope.serve")

KEPT = 7
INTERVAL_S = 600.0  # between looks at the calendar
FIRST_S = 2.0  # after the start


class DatabaseCopies:
    """Copies in `copies/` of a project, the newest ones of the last days."""

    def __init__(self, project: Path) -> None:
        self._database = project / "project.sqlite"
        self._folder = project / "copies"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="segscope-copies", daemon=True)

    def start(self) -> None:
        """Copy the database once a day, from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop doing so."""
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        wait_s = FIRST_S
        while not self._stop.wait(wait_s):
            wait_s = INTERVAL_S
            try:
                self.copy_if_due()
            except (SegscopeError, OSError, sqlite3.Error) as error:
                log.warning("the database of the project could not be copied: %s", error)

    def copy_if_due(self) -> Path | None:
        """Copy the database unless there is a copy of today; the new copy.

        Raises:
            WriteError, OSError, sqlite3.Error: it cannot be copied; there is no part of a copy.
        """
        self._folder.mkdir(exist_ok=True)
        path = self._folder / f"project-{datetime.now(UTC):%Y-%m-%d}.sqlite"
        if path.exists():
            return None
        # a connection of its own, so that no command waits for the copy
        with atomic(path) as part, closing(sqlite3.connect(self._database)) as source:
            source.execute("VACUUM INTO ?", [str(part)])
        for old in self.list_copies()[KEPT:]:
            old.unlink()
        return path

    def list_copies(self) -> list[Path]:
        """The copies, the newest first."""
        return sorted(self._folder.glob("project-*.sqlite"), reverse=True)

    def newest_sound(self) -> Path | None:
        """The newest copy that is not damaged."""
        for path in self.list_copies():
            if path.stat().st_size and is_sound(path):
                return path
        return None


def is_sound(path: Path) -> bool:
    """Whether a database of a project can be read."""
    try:
        Database(path).close()
    except ReadError:
        return False
    return True
