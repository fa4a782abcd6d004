"""The lock file that gives a project at most one server at a time."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from segscope.errors import WriteError
from segscope.serve.errors import Busy


def lock_project(
    project: Path, *, advice: str = "connect to it, stop it, or choose another --project"
) -> IO[str]:
    """Lock a project folder until the returned file is closed.

    Args:
        project: the folder.
        advice: what to do while a server runs on it.

    Raises:
        Busy: another server holds the lock.
        WriteError: the folder cannot be written in.
    """
    try:
        file = (project / "lock").open("a+")
    except OSError as error:
        raise WriteError(
            f"the project folder {project} cannot be written in: {error.strerror or error}. Make "
            "room or get the right to write there, or choose another --project"
        ) from error
    try:
        import fcntl
    except ImportError:  # Windows has no advisory locks of this kind
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise Busy(f"another segscope server is already running on {project}; {advice}") from error
    return file
