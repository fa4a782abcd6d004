"""The audit trail of a project: who did what on which image, line by line, as its logs say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from segscope.errors import ReadError
from segscope.session.command_log import LogContent, scan_log
from segscope.session.commands import SessionCommand
from segscope.session.damaged_parts import lost_commands
from segscope.session.log_lines import LogLine
from segscope.session.project_logs import session_logs


@dataclass(frozen=True)
class AuditEntry:
    """One line of a log.

    Attributes:
        session, line: where it stands; the head of a log has line 0.
        time: UTC, ISO 8601.
        image: name of the image, or "" where the log does not name it.
        model: that answered.
        command: "begin" for the head, else the name of the command, "undo" or "redo".
        objects, frames: that the command names, with spaces between.
    """

    session: str
    line: int
    time: str
    annotator: str
    image: str
    model: str
    command: str
    objects: str = ""
    frames: str = ""


@dataclass(frozen=True)
class SessionAudit:
    """The entries of a session, and what is wrong with its log, or ""."""

    entries: list[AuditEntry]
    damage: str


def read_audit(project: Path, session_id: str | None = None) -> Iterator[SessionAudit]:
    """Audit trails of the sessions of a project, or of one."""
    for name, path in session_logs(project):
        if session_id in (None, name):
            yield _read_log(name, path)


def _read_log(session: str, path: Path) -> SessionAudit:
    try:
        content = scan_log(path)
    except ReadError as error:
        return SessionAudit([], str(error))
    damages = [
        f"the log of session {session} lost a damaged line, which is in {part.name} beside it"
        for part in lost_commands(path)
    ]
    if content.damage is not None and content.damage.kind != "torn":
        damages.append(f"the log of session {session} is damaged at {content.damage}")
    return SessionAudit(list(_entries(session, content)), "; ".join(damages))


def _entries(session: str, content: LogContent) -> Iterator[AuditEntry]:
    header = content.header
    image = ""
    if header.project is not None:
        image = header.project.image_name
    model = str(header.engine["model"])
    yield AuditEntry(session, 0, header.time, header.annotator, image, model, "begin")
    for number, line in enumerate(content.lines, start=1):
        if line.engine is not None:
            model = str(line.engine["model"])
        objects, frames = _scope(line)
        word = line.entry.word
        yield AuditEntry(
            session, number, line.time, line.annotator, image, model, word, objects, frames
        )


def _scope(line: LogLine) -> tuple[str, str]:
    """The objects and frames of a line."""
    entry = line.entry
    if not isinstance(entry, SessionCommand):
        return "", ""
    return _join(entry.object_ids), _join(entry.frames)


def _join(numbers: frozenset[int]) -> str:
    return " ".join(map(str, sorted(numbers)))
