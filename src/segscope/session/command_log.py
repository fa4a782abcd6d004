"""CommandLog: the commands of a session as a file, which survives a crash at any moment.

One JSON object a line. The first line is the head: image, engine, annotator, version. Every line
has a sequence number, the time, the annotator, and a hash of the previous line's hash and its own
content, so that reading notices a line that was changed, dropped or moved. The hash is no
signature: it does not tell whether the last lines were cut off, or all lines written anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from segscope._version import __version__
from segscope.errors import ReadError, UsageError, WriteError
from segscope.files import atomic
from segscope.models.engine import Engine, engine_identity
from segscope.predict.overlaps import Overlap
from segscope.predict.state import ObjectState
from segscope.prompts import Prompt
from segscope.session.commands import Add, LogEntry, Redo, SessionCommand, Undo, entry_from_json
from segscope.session.mask_delta import MaskDelta
from segscope.session.state import SessionState
from segscope.stack import Stack
from segscope.wire import JsonObject, prompts_to_json

VERSION = 2


def utc_now() -> str:
    """The time in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


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
    """

    version: str
    image: JsonObject
    engine: JsonObject
    window: JsonObject
    memory: str
    overlap: Overlap
    annotator: str = ""

    def to_json(self) -> JsonObject:
        return {
            "segscope_log": VERSION,
            "version": self.version,
            "image": self.image,
            "engine": self.engine,
            "window": self.window,
            "memory": self.memory,
            "overlap": self.overlap,
        }

    @classmethod
    def of(cls, state: SessionState, annotator: str = "") -> LogHeader:
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
        )

    @classmethod
    def from_json(cls, item: JsonObject) -> LogHeader:
        return cls(
            item["version"],
            item["image"],
            item["engine"],
            item["window"],
            item["memory"],
            item["overlap"],
            item["annotator"],
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


# --- writing -------------------------------------------------------------------------------------


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


class CommandLog:
    """A log file that grows. Each line is on disk before `append` returns."""

    def __init__(self, path: Path, end: LogEnd) -> None:
        self.path = path
        self._end = end

    @classmethod
    def create(cls, path: Path, header: LogHeader) -> CommandLog:
        """Start a new log.

        Raises:
            UsageError: the file exists already, or its folder does not.
        """
        if path.exists():
            raise UsageError(
                f"{path} exists; continue it with Interaction.resume, or choose another name"
            )
        data, end = seal(header.to_json(), LogEnd(), utc_now(), header.annotator)
        with atomic(path) as part:
            part.write_bytes(data)
        return cls(path, end)

    @classmethod
    def reopen(cls, path: Path, end: LogEnd) -> CommandLog:
        """Continue a log after `end`; an incomplete last line is cut off."""
        os.truncate(path, end.size)
        return cls(path, end)

    def append(self, line: LogLine) -> None:
        """Add one line and wait until it is on disk.

        Raises:
            WriteError: the file system refuses; the log is as before.
        """
        data, end = seal(line.to_json(), self._end, line.time, line.annotator)
        try:
            with self.path.open("ab") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            # an incomplete line in the middle would make the log unreadable
            with contextlib.suppress(OSError):
                os.truncate(self.path, self._end.size)
            raise WriteError(
                f"cannot write the log {self.path}: {error.strerror or error}"
            ) from error
        self._end = end


# --- reading -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LogContent:
    """A log as it was read."""

    header: LogHeader
    lines: Sequence[LogLine]
    end: LogEnd


def read_log(path: Path) -> LogContent:
    """Read and verify a log.

    A last line without its end was being written when the program stopped; it is left out.

    Raises:
        ReadError: not a log, or a line is damaged; the message names it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ReadError(f"cannot read the log {path}: {error.strerror or error}") from error
    complete = data[: data.rfind(b"\n") + 1]
    header: LogHeader | None = None
    lines: list[LogLine] = []
    end = LogEnd()
    for number, text in enumerate(complete.splitlines(keepends=True), start=1):
        try:
            item, end = _verify(text, end)
            if header is None:
                header = LogHeader.from_json(item)
            else:
                lines.append(LogLine.from_json(item))
        except (ReadError, ValueError, KeyError, TypeError) as error:
            raise ReadError(f"{path} is damaged at line {number}: {error}") from error
    if header is None:
        raise ReadError(f"{path} is empty, not a segscope log")
    return LogContent(header, lines, end)


def _verify(text: bytes, before: LogEnd) -> tuple[JsonObject, LogEnd]:
    """The content of a line that follows `before`, and the end after it."""
    item = json.loads(text)
    if not isinstance(item, dict):
        raise ReadError("not a JSON object")
    if before.lines == 0 and item.get("segscope_log") != VERSION:
        raise ReadError(f"not the head of a segscope log of version {VERSION}")
    if item.get("seq") != before.lines:
        raise ReadError(f"its sequence number is {item.get('seq')!r}, expected {before.lines}")
    stored = item.pop("hash", None)
    digest = _hash(before.hash, item)
    if stored != digest:
        raise ReadError("its hash does not match its content and the lines before it")
    return item, LogEnd(before.lines + 1, digest, before.size + len(text))


def _hash(previous: str, item: JsonObject) -> str:
    """Hash of a line: of the previous line's hash and of its own JSON in canonical form."""
    canonical = json.dumps(item, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{previous}{canonical}".encode()).hexdigest()


# --- what the lines add up to --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LoggedCommand:
    """A command of a log.

    Attributes:
        command: what was done.
        delta: what it changed; None where the log does not say.
        engine: identity of the engine that did it.
        time, annotator: when, and who.
        era: how often the engine had changed before.
        from_other_engine: whether another engine than the present one did it.
    """

    command: SessionCommand
    delta: MaskDelta | None
    engine: JsonObject
    time: str
    annotator: str
    era: int = 0
    from_other_engine: bool = False


@dataclass(frozen=True, slots=True)
class Timeline:
    """What the lines of a log add up to.

    Attributes:
        done: commands that were not undone, in order.
        undone: commands that could be redone, the latest undone last.
        engine: identity of the latest engine.
        era: how often it changed.
    """

    done: list[LoggedCommand]
    undone: list[LoggedCommand]
    engine: JsonObject
    era: int


def fold_lines(header: LogHeader, lines: Sequence[LogLine]) -> Timeline:
    """Follow all undos and redos of a log."""
    done: list[LoggedCommand] = []
    undone: list[LoggedCommand] = []
    engine = header.engine
    era = 0
    for line in lines:
        if line.engine is not None:
            engine = line.engine
            era += 1
        match line.entry:
            case Undo() if done:
                undone.append(done.pop())
            case Redo() if undone:
                done.append(undone.pop())
            case SessionCommand():
                done.append(
                    LoggedCommand(line.entry, line.delta, engine, line.time, line.annotator, era)
                )
                undone.clear()
    return Timeline(done, undone, engine, era)


# --- the record that masks are exported with ------------------------------------------------------


def make_record(
    header: LogHeader, objects: Mapping[int, ObjectState], commands: Iterable[SessionCommand]
) -> JsonObject:
    """Versions, weights, window, prompts, commands, and notes about single masks."""
    prompts: list[Prompt] = []
    names: dict[int, str] = {}
    notes: dict[str, str] = {}
    for object_id, obj in objects.items():
        names[object_id] = obj.name
        for prompts_on_frame in obj.prompts.values():
            prompts += prompts_on_frame
        for frame, result in obj.answers.items():
            if result.note and not result.note.startswith("stopped"):
                notes[f"{object_id}@{frame}"] = result.note
    return {
        "version": header.version,
        "stack": header.image,
        "engine": header.engine,
        "window": header.window,
        "memory": header.memory,
        "overlap": header.overlap,
        "prompts": prompts_to_json(prompts, names),
        # added prompts are listed under "prompts" already
        "commands": [item.to_json() for item in commands if not isinstance(item, Add)],
        "notes": notes,
    }


# --- identities -----------------------------------------------------------------------------------


def stack_identity(stack: Stack) -> JsonObject:
    """Shape, type, axis, and a hash of the first, middle and last frame."""
    digest = hashlib.sha256()
    for index in sorted({0, len(stack) // 2, len(stack) - 1}):
        digest.update(np.ascontiguousarray(stack[index]).tobytes())
    return {
        "shape": list(stack.source.shape),
        "dtype": str(np.dtype(stack.source.dtype)),
        "axis": stack.axis,
        "sha256": digest.hexdigest()[:16],
    }


def check_stack(identity: JsonObject, stack: Stack, path: Path) -> None:
    """Refuse to replay a log on another image.

    Raises:
        UsageError: with both identities.
    """
    expected = stack_identity(stack)
    if identity != expected:
        raise UsageError(
            f"{path} belongs to another image: the log names {identity}, this image is {expected}"
        )


def engine_difference(identity: JsonObject, engine: Engine) -> str:
    """How an engine differs from the one that has this identity, or "" when they are the same."""
    present = engine_identity(engine)
    for key in ("model", "weights", "input_size"):
        if identity.get(key) != present[key]:
            return f"made with {key} {identity.get(key)!r}; this engine has {present[key]!r}"
    return ""
