"""Annotation projects as sources of examples: the masks that people accepted or rejected, from the
logs of the sessions.

Only the logs are read, up to their last complete line, so that a server may run at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from segscope.errors import ReadError, SegscopeError, UsageError
from segscope.io import read
from segscope.session.command_log import read_log
from segscope.session.examples.acceptance import find_runs, list_acceptances
from segscope.session.examples.source import ExampleSource
from segscope.session.examples.source_masks import SourceCase, SourceImage, SourceMask
from segscope.session.identity import check_stack
from segscope.session.log_lines import LogHeader, ProjectEntry
from segscope.session.logged_objects import read_objects
from segscope.session.project_logs import session_logs


@dataclass(frozen=True, eq=False)
class _AcceptedWork:
    """The accepted masks of a session.

    Attributes:
        log: of the session.
        header: of the log.
        entry: the image in the project.
        time: of the last command.
        masks: that were accepted, or rejected.
    """

    log: Path
    header: LogHeader
    entry: ProjectEntry
    time: str
    masks: list[SourceMask]


def is_project(path: Path) -> bool:
    """Whether a folder is that of an annotation project."""
    return (path / "project.sqlite").is_file() or any(session_logs(path))


def open_project(path: Path) -> ExampleSource:
    """The accepted masks of a project; of each image those of the session that was used last.

    Raises:
        UsageError: there are none.
    """
    notes: list[str] = []
    latest: dict[str, _AcceptedWork] = {}
    for session_id, log in session_logs(path):
        try:
            work = _read_work(log)
        except SegscopeError as error:
            notes.append(f"session {session_id}: {error}")
            continue
        if all(mask.rejected for mask in work.masks):
            continue
        image = work.entry.image_id
        if image not in latest or latest[image].time < work.time:
            latest[image] = work
    if not latest:
        reason = next(iter(notes), "nobody has accepted a mask in it yet")
        raise UsageError(f"there is nothing to learn from in {path}: {reason}")
    labels = [mask.label for work in latest.values() for mask in work.masks]
    cases = [
        SourceCase(work.entry.image_name, "", partial(_open, work)) for work in latest.values()
    ]
    return ExampleSource(path, tuple(dict.fromkeys(labels)), cases, notes=notes)


def _read_work(log: Path) -> _AcceptedWork:
    content = read_log(log)
    header = content.header
    if header.project is None:
        raise ReadError(f"{log} does not name its image")
    rows, columns = header.image["shape"][1:3]
    objects = read_objects(content, (rows, columns))
    masks = []
    for acceptance in list_acceptances(header.image["sha256"], objects):
        runs = find_runs(objects[acceptance.object_id], acceptance)
        rejected = acceptance.rejected
        masks.append(SourceMask(acceptance.label, acceptance.frame, runs, rejected))
    time = header.time
    if content.lines:
        time = content.lines[-1].time
    return _AcceptedWork(log, header, header.project, time, masks)


def _open(work: _AcceptedWork, _axis: int) -> SourceImage:
    entry = work.entry
    path = Path(entry.path)
    if not entry.path or not path.exists():
        raise ReadError(f"its image is no longer at {path}")
    stack = read(path, **entry.read_options).along(work.header.image["axis"])
    check_stack(work.header.image, stack, work.log)
    return SourceImage(stack, work.masks, complete=False, window=entry.window)
