"""Lines of a log: the head, the commands, and the running hash that ties each to those before it.

One JSON object a line. The first line is the head: image, engine, annotator, version. Every line
has a sequence number, the time, the annotator, and a hash of the previous line's hash and its own
content, so that reading notices a line that was changed, dropped or moved. The hash is no
signature: it does not tell whether the last lines were cut off, or all lines written anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from segscope._version import __version__
from segscope.errors import ReadError
from segscope.models.engine import engine_identity
from segscope.predict.overlaps import Overlap
from segscope.session.commands import LogEntry, entry_from_json
from segscope.session.identity import stack_identity
from segscope.session.mask_delta import MaskDelta
from segscope.session.state import SessionState
from segscope.wire import JsonObject

VERSION = 2


def utc_now() -> str:
    """The time in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True)
class ProjectEntry:
    """The place of a session in a project; a lost database is rebuilt from it.

    Attributes:
        image_id, image_name, image_origin: of the image, as the project lists it.
        read_options: keyword arguments of `segscope.read`.
        model: the name by which the session was opened.
        window: as it was requested; None for the default.
        path: of the image on this machine. It is not part of the hash, so that a copy of the log
            without it still verifies.
    """

    image_id: str
    image_name: str
    image_origin: str
    read_options: Mapping[str, Any]
    model: str
    window: str | JsonObject | None
    path: str = ""


@dataclass(frozen=True, slots=True)
class LogHeader:
    """First line of a log: what makes its commands mean the same again.

    Attributes:
        version: of segscope.
        image: identity of the image, see `stack_identity`.
        engine: identity of the engine, see `engine_identity`.
        window: record of the intensities displayed.
        memory: name of the memory policy.
        overlap: how overlapping masks are composed.
        annotator: whose work it is.
        project: where the session belongs, if it is one of a project.
        time: when the session was begun; "" in a head that is not written yet.
    """

    version: str
    image: JsonObject
    engine: JsonObject
    window: JsonObject
    memory: str
    overlap: Overlap
    annotator: str = ""
    project: ProjectEntry | None = None
    time: str = ""

    def to_json(self) -> JsonObject:
        item: JsonObject = {
            "segscope_log": VERSION,
            "version": self.version,
            "image": self.image,
            "engine": self.engine,
            "window": self.window,
            "memory": self.memory,
            "overlap": self.overlap,
        }
        if self.project is not None:
            entry = asdict(self.project)
            item[PRIVATE] = {"path": entry.pop("path")}
            item["project"] = entry
        return item

    @classmethod
    def of(
        cls, state: SessionState, annotator: str = "", project: ProjectEntry | None = None
    ) -> LogHeader:
        """The head of a log that begins now."""
        inference = state.inference
        return cls(
            __version__,
            stack_identity(inference.stack),
            engine_identity(inference.engine),
            inference.frames.window.record(),
            inference.policy.name,
            state.overlap,
            annotator,
            project,
        )

    @classmethod
    def from_json(cls, item: JsonObject) -> LogHeader:
        project = None
        if "project" in item:
            project = ProjectEntry(**item["project"], **item.get(PRIVATE, {}))
        return cls(
            item["version"],
            item["image"],
            item["engine"],
            item["window"],
            item["memory"],
            item["overlap"],
            item["annotator"],
            project,
            item["time"],
        )


@dataclass(frozen=True, slots=True)
class LogLine:
    """A command, undo or redo with the circumstances that the log records.

    Attributes:
        time: UTC, ISO 8601.
        delta: what it changed; None for undo and redo, and in logs that `save` wrote for sessions
            without one.
        engine: identity of the engine, where it differs from that of the lines before.
    """

    entry: LogEntry
    time: str
    annotator: str
    delta: MaskDelta | None = None
    engine: JsonObject | None = None

    def to_json(self) -> JsonObject:
        item = self.entry.to_json()
        if self.delta is not None:
            item["delta"] = self.delta.to_json()
        if self.engine is not None:
            item["engine"] = self.engine
        return item

    @classmethod
    def from_json(cls, item: JsonObject) -> LogLine:
        delta = None
        if "delta" in item:
            delta = MaskDelta.from_json(item["delta"])
        return cls(
            entry_from_json(item), item["time"], item["annotator"], delta, item.get("engine")
        )


# --- the running hash ----------------------------------------------------------------------------

PRIVATE = "private"
"""Key of what a copy of a log may leave out: the hash does not cover it."""


@dataclass(frozen=True, slots=True)
class LogEnd:
    """Where a log ends: number of lines, hash of the last one, and bytes."""

    lines: int = 0
    hash: str = ""
    size: int = 0


def seal(item: JsonObject, end: LogEnd, time: str, annotator: str) -> tuple[bytes, LogEnd]:
    """A line after `end` as bytes, with sequence number and hash; and the end after it."""
    stamped = {"seq": end.lines, "time": time, "annotator": annotator, **item}
    digest = _hash(end.hash, stamped)
    data = json.dumps({**stamped, "hash": digest}).encode() + b"\n"
    return data, LogEnd(end.lines + 1, digest, end.size + len(data))


def verify(text: bytes, before: LogEnd) -> tuple[JsonObject, LogEnd]:
    """The content of a line that follows `before`, and the end after it.

    Raises:
        ReadError, ValueError: the line is damaged.
    """
    try:
        item = json.loads(text)
    except ValueError as error:
        raise ReadError("it is not JSON") from error
    if not isinstance(item, dict):
        raise ReadError("it is not a JSON object")
    if before.lines == 0 and item.get("segscope_log") != VERSION:
        raise ReadError(f"it is not the head of a segscope log of version {VERSION}")
    if item.get("seq") != before.lines:
        raise ReadError(f"its sequence number is {item.get('seq')!r}, expected {before.lines}")
    stored = item.pop("hash", None)
    digest = _hash(before.hash, item)
    if stored != digest:
        raise ReadError("its hash does not match its content and the lines before it")
    return item, LogEnd(before.lines + 1, digest, before.size + len(text))


def without_private(head: bytes) -> bytes:
    """The first line of a log without what is private, for clients.

    Raises:
        ReadError: it is damaged.
    """
    try:
        item = json.loads(head)
    except ValueError as error:
        raise ReadError("the first line of the log is damaged") from error
    item.pop(PRIVATE, None)
    return json.dumps(item).encode() + b"\n"


def _hash(previous: str, item: JsonObject) -> str:
    """Hash of a line: of the previous line's hash and of its own JSON in canonical form."""
    public = {key: value for key, value in item.items() if key != PRIVATE}
    canonical = json.dumps(public, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{previous}{canonical}".encode()).hexdigest()
