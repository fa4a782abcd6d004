"""Rows of the database as the logs of sessions tell them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from segscope.errors import SegscopeError
from segscope.io import read
from segscope.serve.project import safe_paths
from segscope.serve.project.database import Row
from segscope.serve.project.image_records import (
    DisplayRange,
    Image,
    Origin,
    ReadChoice,
    StoredImage,
    image_id_of,
)
from segscope.serve.project.sandboxed_reader import read_sandboxed
from segscope.serve.sessions.session_rows import COUNTED_PAUSE_S
from segscope.serve.settings import Limits
from segscope.session.command_log import LogContent
from segscope.session.log_lines import LogHeader, ProjectEntry
from segscope.session.timeline import fold_lines
from segscope.stack import Stack


def session_row(session_id: str, content: LogContent, entry: ProjectEntry) -> Row:
    """The row of a session; its place in the order of use is not known."""
    header = content.header
    times = [_seconds_of(header.time)]
    times += [_seconds_of(line.time) for line in content.lines]
    return {
        "id": session_id,
        "image_id": entry.image_id,
        "annotator": header.annotator,
        "model": entry.model,
        "axis": header.image["axis"],
        "window": entry.window,
        "options": {"memory": header.memory, "overlap": header.overlap},
        "created": times[0],
        "updated": times[-1],
        "commands": count_commands(content),
        "seconds": _working_seconds(times[1:]),
    }


def count_commands(content: LogContent) -> int:
    """How many commands of a log are done and not undone."""
    return len(fold_lines(content.header, content.lines).done)


def image_row(content: LogContent, entry: ProjectEntry) -> Row:
    """The row of the image of a session; without its file, what the log says about it."""
    stored = _read_image(entry) or _describe_lost_image(content.header, entry)
    return stored.to_row() | {"created": _seconds_of(content.header.time)}


def _seconds_of(time: str) -> float:
    """Seconds since 1970 of a time in a log."""
    return datetime.fromisoformat(time).timestamp()


def _working_seconds(times: Sequence[float]) -> float:
    pauses = [later - earlier for earlier, later in pairwise(times)]
    return sum(min(max(pause, 0.0), COUNTED_PAUSE_S) for pause in pauses)


def _read_image(entry: ProjectEntry) -> StoredImage | None:
    """The image, read again from where it was; None if it is not there or not the same."""
    path = Path(entry.path)
    choice = ReadChoice(**entry.read_options)
    if not entry.path or not path.exists():
        return None
    try:
        if image_id_of(safe_paths.content_hash(path), choice.options()) != entry.image_id:
            return None
        stack = _read_stack(entry, path, choice)
    except (SegscopeError, OSError):
        return None
    image = Image.of(stack, entry.image_id, entry.image_name, _origin(entry))
    return StoredImage(image, path, choice)


def _read_stack(entry: ProjectEntry, path: Path, choice: ReadChoice) -> Stack:
    if entry.image_origin == "upload":
        return read_sandboxed(path, choice.options(), Limits())
    return read(path, **choice.options())


def _describe_lost_image(header: LogHeader, entry: ProjectEntry) -> StoredImage:
    shape = header.image["shape"]
    frames, rows, columns = shape[:3]
    channels = 1
    if len(shape) > 3:
        channels = shape[3]
    window = header.window
    image = Image(
        image_id=entry.image_id,
        name=entry.image_name,
        origin=_origin(entry),
        kind="image" if frames == 1 else "volume",
        modality=None,
        shape_zyx=(frames, rows, columns),
        channels=channels,
        dtype=header.image["dtype"],
        spacing_zyx_mm=None,
        affine=None,
        times_s=None,
        window=DisplayRange(window["how"], window["low"], window["high"]),
        bytes=0,
        notes=["the project was repaired while the file of this image was missing"],
    )
    return StoredImage(image, Path(entry.path), ReadChoice(**entry.read_options))


def _origin(entry: ProjectEntry) -> Origin:
    return "upload" if entry.image_origin == "upload" else "root"
