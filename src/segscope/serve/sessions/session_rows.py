"""SessionRows: the sessions of a project in its database.

The logs are the truth. A row that cannot be written never fails a command that is in the log: what
it says is kept here and written with the next command, or when the session is opened again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from segscope.errors import ReadError, WriteError
from segscope.serve.errors import NotFound
from segscope.serve.project.database import Database, Row, now
from segscope.serve.sessions.session_request import SessionRequest

log = logging.getLogger("segscope.serve")

COUNTED_PAUSE_S = 60.0  # pauses between commands up to this long count as work


@dataclass
class _Clock:
    """Working time of a session.

    Attributes:
        last: of the last command, by the monotonic clock; 0 before the first.
        unwritten_s: seconds that the row does not have yet.
    """

    last: float = 0.0
    unwritten_s: float = 0.0

    def tick(self) -> None:
        """A command was done."""
        moment = time.monotonic()
        if self.last:
            self.unwritten_s += min(moment - self.last, COUNTED_PAUSE_S)
        self.last = moment


class SessionRows:
    """The table of sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._clocks: dict[str, _Clock] = {}
        self._lock = threading.Lock()

    def get(self, session_id: str) -> Row:
        """The row of a session.

        Raises:
            NotFound: no such session.
        """
        row = self._database.row("SELECT * FROM sessions WHERE id = ? AND erased = 0", session_id)
        if row is None:
            raise NotFound("no such session; `GET /v1/sessions` lists those of this project")
        return row

    def select(self, image_id: str | None = None, annotator: str | None = None) -> list[Row]:
        """Rows, the one used last first."""
        return self._database.rows(
            "SELECT * FROM sessions WHERE erased = 0 AND (? IS NULL OR image_id = ?) "
            "AND (? IS NULL OR annotator = ?) ORDER BY used DESC, id",
            image_id,
            image_id,
            annotator,
            annotator,
        )

    def find(self, request: SessionRequest, image_id: str) -> Row | None:
        """The session used last that a request fits, or None."""
        return self._database.row(
            "SELECT * FROM sessions WHERE erased = 0 AND image_id = ? AND annotator = ? "
            "AND axis = ? AND (? IS NULL OR model = ?) ORDER BY used DESC",
            image_id,
            request.annotator,
            request.axis,
            request.model,
            request.model,
        )

    def insert(self, session_id: str, request: SessionRequest, image_id: str, model: str) -> None:
        """Add a session.

        Raises:
            WriteError: the database cannot be written.
        """
        created = now()
        row = {
            "id": session_id,
            "image_id": image_id,
            "annotator": request.annotator,
            "model": model,
            "axis": request.axis,
            "window": request.window,
            "options": {"memory": request.memory, "overlap": request.overlap},
            "created": created,
            "updated": created,
            "used": self._next_use(),
        }
        self._database.insert("sessions", row)

    def _next_use(self) -> int:
        row = self._database.row("SELECT COALESCE(MAX(used), 0) + 1 AS number FROM sessions")
        assert row is not None
        return int(row["number"])

    def erase(self, session_id: str) -> None:
        """Hide a session, whose folder goes to the trash."""
        self._database.update("sessions", session_id, {"erased": 1})

    # --- what the logs know better ---------------------------------------------------------------

    def count_command(self, session_id: str, commands: int) -> None:
        """Note that a command was done; `commands` are done in all."""
        with self._lock:
            clock = self._clocks.setdefault(session_id, _Clock())
            clock.tick()
            seconds = clock.unwritten_s
            try:
                row = self.get(session_id)
                changes = {
                    "updated": now(),
                    "commands": commands,
                    "seconds": row["seconds"] + seconds,
                }
                self._database.count_use(session_id, changes)
            except (ReadError, WriteError) as error:
                log.warning("a command is in its log, but could not be counted: %s", error)
                return
            clock.unwritten_s = 0.0

    def correct_count(self, session_id: str, commands: int) -> None:
        """Write how many commands a log holds, where the row says something else."""
        if self.get(session_id)["commands"] != commands:
            self.note(session_id, {"commands": commands})

    def note(self, session_id: str, changes: Mapping[str, object]) -> None:
        """Write what helps a later start of the server, which may do without it."""
        try:
            self._database.update("sessions", session_id, changes)
        except WriteError as error:
            log.warning("the row of a session could not be written: %s", error)
