"""Check a project, and repair it: damaged logs, and a database that is lost or does not fit them.

Nothing is deleted: what is replaced or cut off is moved to `damaged/` in the project.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from segscope.errors import ReadError
from segscope.files import atomic, sync
from segscope.serve.project.consistency import check_is_project, has_commands
from segscope.serve.project.database import Database, OtherProjectVersion, Row, now
from segscope.serve.project.database_copies import DatabaseCopies
from segscope.serve.project.database_errors import is_passing
from segscope.serve.project.lock import lock_project
from segscope.serve.project.rebuilt_rows import count_commands, image_row, session_row
from segscope.session.command_log import LogContent, move_tail_aside, scan_log
from segscope.session.damaged_parts import unacknowledged
from segscope.session.log_lines import LogHeader
from segscope.session.project_logs import session_logs


@dataclass(frozen=True)
class Finding:
    """Something that is wrong in a project.

    Attributes:
        problem: what is wrong.
        action: what was done about it, what would be done, or what a person has to do.
        repaired: whether it is right now.
    """

    problem: str
    action: str
    repaired: bool


@dataclass
class RepairReport:
    """What a check or a repair of a project found.

    Attributes:
        sessions: sessions whose logs could be read.
        commands: that these hold.
        findings: in the order in which they were found.
    """

    sessions: int = 0
    commands: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is left to be repaired."""
        return all(finding.repaired for finding in self.findings)


def check_project(project: Path) -> RepairReport:
    """Find what is wrong in a project; nothing is changed.

    Raises:
        UsageError: the folder is not a project.
        ReadError: another version of segscope wrote it.
        Busy: a server works on it.
    """
    return _run(project, write=False)


def repair_project(project: Path) -> RepairReport:
    """Repair a project.

    Raises:
        UsageError, ReadError, Busy: as for `check_project`.
        WriteError, OSError: the file system refuses; what was done until then stays.
    """
    return _run(project, write=True)


def _run(project: Path, *, write: bool) -> RepairReport:
    check_is_project(project)
    with lock_project(project, advice="stop it, then check or repair the project"):
        repair = _Repair(project, write=write)
        repair.run()
        return repair.report


class _Repair:
    """One run over a project."""

    def __init__(self, project: Path, *, write: bool) -> None:
        self.report = RepairReport()
        self._project = project
        self._write = write
        self._path = project / "project.sqlite"
        self._aside = project / "damaged" / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}"
        self._database: Database | None = None
        self._unlisted: list[tuple[str, LogContent]] = []

    def run(self) -> None:
        self._open_database()
        try:
            listed = self._rows()
            for session_id, path in session_logs(self._project):
                self._check_log(session_id, path, listed.pop(session_id, None))
            # in the order of use, as far as the logs know it
            for session_id, content in sorted(self._unlisted, key=_last_time):
                self._list_session(session_id, content)
            for row in listed.values():
                if (self._project / "trash" / row["id"]).is_dir():
                    self._mark_erased(row)
                else:
                    self._report_missing_log(row)
        finally:
            if self._database is not None:
                self._database.close()

    def _add(self, problem: str, done: str, to_do: str) -> None:
        action = done if self._write else to_do
        self.report.findings.append(Finding(problem, action, self._write))

    def _add_unrepaired(self, problem: str, advice: str) -> None:
        self.report.findings.append(Finding(problem, advice, repaired=False))

    # --- the database ----------------------------------------------------------------------------

    def _open_database(self) -> None:
        problem = self._database_problem()
        if not problem:
            self._database = Database(self._path)
            return
        copy = DatabaseCopies(self._project).newest_sound()
        source = "rebuilt from the logs of the sessions; labels and states of cases are lost"
        if copy is not None:
            source = f"taken from {copy.relative_to(self._project)}, and completed from the logs"
        moved = ""
        if self._path.exists():
            moved = f"; the old file is moved to {self._aside.relative_to(self._project)}"
        self._add(
            f"the database project.sqlite {problem}",
            f"it was {source}{moved}",
            f"it can be {source}",
        )
        if self._write:
            self._replace_database(copy)
            self._database = Database(self._path)
        elif copy is not None:
            self._database = Database(copy)

    def _database_problem(self) -> str:
        """What is wrong with the database as a whole, or ""."""
        if not self._path.exists():
            return "is missing"
        if not self._path.stat().st_size:
            return "is empty"
        try:
            with closing(Database(self._path)) as database:
                return self._emptiness(database)
        except OtherProjectVersion:
            raise
        except ReadError as error:
            if is_passing(error.__cause__):
                raise
            return f"is damaged ({error.__cause__ or error})"

    def _emptiness(self, database: Database) -> str:
        has_logs = any(has_commands(path) for _, path in session_logs(self._project))
        for table in ("sessions", "images"):
            if database.row(f"SELECT 1 FROM {table}") is not None:
                return ""
        return "lists no image and no session" if has_logs else ""

    def _replace_database(self, copy: Path | None) -> None:
        for name in ("project.sqlite", "project.sqlite-wal", "project.sqlite-shm"):
            path = self._project / name
            if path.exists():
                self._aside.mkdir(parents=True, exist_ok=True)
                path.rename(self._aside / name)
        if copy is not None:
            with atomic(self._path) as part:
                shutil.copyfile(copy, part)
        sync(self._project)

    def _rows(self) -> dict[str, Row]:
        """Rows of sessions by id, without those in the trash."""
        if self._database is None:
            return {}
        rows = self._database.rows("SELECT * FROM sessions WHERE erased = 0")
        return {row["id"]: row for row in rows}

    # --- the logs --------------------------------------------------------------------------------

    def _check_log(self, session_id: str, path: Path, row: Row | None) -> None:
        try:
            content = scan_log(path)
        except ReadError as error:
            self._add_unrepaired(
                f"session {session_id} cannot be opened: {error}",
                "restore its log from a backup; it is left as it is",
            )
            return
        if content.damage is not None and content.damage.kind != "torn":
            self._cut_log(session_id, path, content)
        for part in unacknowledged(path):
            self._add_unrepaired(
                f"{_name(session_id, content.header)} lost a command: its line in the log was "
                f"damaged, and was moved to {part.relative_to(self._project)}",
                "open the session in the page, check its masks, and dismiss the note there",
            )
        commands = count_commands(content)
        self.report.sessions += 1
        self.report.commands += commands
        if row is not None:
            self._correct_count(row, commands)
        elif not self._is_erased(session_id) and content.lines:
            self._unlisted.append((session_id, content))

    def _cut_log(self, session_id: str, path: Path, content: LogContent) -> None:
        damage = content.damage
        assert damage is not None
        aside = self._aside / f"{session_id}-log.jsonl"
        good = len(content.lines)
        self._add(
            f"{_name(session_id, content.header)}: the log is damaged at {damage}",
            f"the {good} commands before it are kept; the rest, {damage.size} bytes, was moved to "
            f"{aside.relative_to(self._project)}",
            f"the {good} commands before it can be kept, and the rest, {damage.size} bytes, moved "
            "aside",
        )
        if self._write:
            self._aside.mkdir(parents=True, exist_ok=True)
            move_tail_aside(path, content.end.size, aside)

    def _correct_count(self, row: Row, commands: int) -> None:
        if self._write and self._database is not None and row["commands"] != commands:
            self._database.update("sessions", row["id"], {"commands": commands})

    def _is_erased(self, session_id: str) -> bool:
        if self._database is None:
            return False
        return self._database.row("SELECT 1 FROM sessions WHERE id = ?", session_id) is not None

    def _list_session(self, session_id: str, content: LogContent) -> None:
        name = _name(session_id, content.header)
        entry = content.header.project
        if entry is None:
            self._add_unrepaired(
                f"{name} is not in the database", "its log does not name its image; it is left"
            )
            return
        self._add(
            f"{name} is not in the database",
            "it was listed again, as its log describes it",
            "it can be listed again, as its log describes it",
        )
        if not self._write or self._database is None:
            return
        database = self._database
        if database.row("SELECT 1 FROM images WHERE id = ?", entry.image_id) is None:
            database.insert("images", image_row(content, entry))
            case = {"image_id": entry.image_id, "updated": now()}
            database.insert("cases", case, otherwise="OR IGNORE")
        database.insert("sessions", session_row(session_id, content, entry))
        database.count_use(session_id, {})

    def _mark_erased(self, row: Row) -> None:
        self._add(
            f"session {row['id']} of {row['annotator'] or 'nobody'} is in trash/, but the database "
            "lists it",
            "it was marked as deleted",
            "it can be marked as deleted",
        )
        if self._write and self._database is not None:
            self._database.update("sessions", row["id"], {"erased": 1})

    def _report_missing_log(self, row: Row) -> None:
        self._add_unrepaired(
            f"session {row['id']} of {row['annotator'] or 'nobody'} has no log in sessions/",
            "restore its folder from a backup; the session cannot be opened without it",
        )


def _last_time(item: tuple[str, LogContent]) -> str:
    _, content = item
    return content.lines[-1].time


def _name(session_id: str, header: LogHeader) -> str:
    details = []
    if header.annotator:
        details.append(f"annotator {header.annotator}")
    if header.project is not None:
        details.append(f"image {header.project.image_name}")
    if not details:
        return f"session {session_id}"
    return f"session {session_id} ({', '.join(details)})"
