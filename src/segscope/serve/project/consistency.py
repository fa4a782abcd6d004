"""Whether the database of a project lists the sessions whose logs lie in its folder."""

from __future__ import annotations

import logging
from pathlib import Path

from segscope.errors import ReadError, UsageError
from segscope.serve.project.database import Database
from segscope.session.project_logs import session_logs

log = logging.getLogger("segscope.serve")


def check_is_project(folder: Path) -> None:
    """Refuse a folder that is no project.

    Raises:
        UsageError: it has neither a database nor sessions.
    """
    if not (folder / "project.sqlite").exists() and not (folder / "sessions").is_dir():
        raise UsageError(
            f"{folder} is not the folder of a project: it has neither project.sqlite nor sessions/"
        )


def has_commands(path: Path) -> bool:
    """Whether a log has more than its first line.

    A crash while a session is created may leave one without.
    """
    with path.open("rb") as file:
        file.readline()
        return bool(file.read(1))


def check_database_exists(project: Path) -> None:
    """Refuse a project whose database is gone while its sessions are there.

    Raises:
        ReadError: with the way out.
    """
    path = project / "project.sqlite"
    if path.exists() and path.stat().st_size:
        return
    count = sum(has_commands(log_path) for _, log_path in session_logs(project))
    if count:
        state = "is empty" if path.exists() else "is missing"
        raise ReadError(f"{path} {state}, {_way_out(project, count)}")


def check_sessions_listed(project: Path, database: Database) -> None:
    """Refuse a database without any session while there are logs; warn of single ones.

    Raises:
        ReadError: with the way out.
    """
    listed = {row["id"] for row in database.rows("SELECT id FROM sessions")}
    missing = [
        session_id
        for session_id, path in session_logs(project)
        if session_id not in listed and has_commands(path)
    ]
    if missing and not listed:
        raise ReadError(f"{database.path} lists no session, {_way_out(project, len(missing))}")
    if missing:
        log.warning(
            "%s session folders are not in the database; stop the server and run `segscope repair "
            "%s` to list them again",
            len(missing),
            project,
        )


def _way_out(project: Path, count: int) -> str:
    sessions = "1 session" if count == 1 else f"{count} sessions"
    return (
        f"but the folder sessions/ holds the logs of {sessions}. `segscope repair {project}` "
        "rebuilds the database from them; to begin anew, choose another project folder"
    )
