"""Where the logs of a project lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def session_logs(project: Path) -> Iterator[tuple[str, Path]]:
    """(session id, log) of every session folder that has a log."""
    folder = project / "sessions"
    if folder.is_dir():
        for place in sorted(folder.iterdir()):
            path = place / "log.jsonl"
            if path.is_file():
                yield place.name, path
