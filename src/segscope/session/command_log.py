"""CommandLog: the commands of a session as a file, which survives a crash at any moment."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segscope.errors import ReadError, SegscopeError, UsageError, WriteError
from segscope.files import atomic, reason_of, sync
from segscope.session.damaged_parts import DamageKind, damage_kind, free_name
from segscope.session.log_lines import LogEnd, LogHeader, LogLine, seal, utc_now, verify


class CommandLog:
    """A log file that grows. Lines are on disk before `append` returns."""

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
    def reopen(cls, path: Path, content: LogContent) -> CommandLog:
        """Continue a log after its last good line; what follows it is moved to a file beside it.

        Raises:
            WriteError: it cannot be moved.
        """
        damage = content.damage
        if damage is not None:
            move_tail_aside(path, content.end.size, free_name(path), torn=damage.kind == "torn")
        return cls(path, content.end)

    def append(self, *lines: LogLine) -> None:
        """Add lines and wait until they are on disk: all of them or none.

        Raises:
            WriteError: the file system refuses; the log is as before.
        """
        data = b""
        end = self._end
        for line in lines:
            sealed, end = seal(line.to_json(), end, line.time, line.annotator)
            data += sealed
        try:
            # not "ab": a log that is gone must not begin anew without its head
            with self.path.open("r+b") as file:
                # an earlier write may have failed in the middle and left a part of a line
                file.truncate(self._end.size)
                file.seek(self._end.size)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self.path, self._end.size)
            raise WriteError(f"cannot write the log {self.path}: {reason_of(error)}") from error
        self._end = end


def move_tail_aside(path: Path, size: int, aside: Path, *, torn: bool = False) -> None:
    """Cut a log to `size` bytes; the rest is written to the new file `aside` before.

    Args:
        torn: the rest is a line that was being written when the program stopped, so that nobody
            was told that it counts; it may be dropped where the disk is full.

    Raises:
        WriteError: the file system refuses; the log is as before.
    """
    try:
        _copy_tail(path, size, aside)
    except OSError as error:
        aside.unlink(missing_ok=True)
        if not torn:
            raise WriteError(f"cannot write {aside}: {reason_of(error)}") from error
    try:
        os.truncate(path, size)
        sync(path)
    except OSError as error:
        raise WriteError(f"cannot write the log {path}: {reason_of(error)}") from error


def _copy_tail(path: Path, size: int, aside: Path) -> None:
    with path.open("rb") as log, aside.open("xb") as copy:
        log.seek(size)
        copy.write(log.read())
        copy.flush()
        os.fsync(copy.fileno())
    sync(aside.parent)


# --- reading -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LogDamage:
    """Where a log stops being right.

    Attributes:
        line: of the file, counted from 1.
        reason: what is wrong with that line, as a sentence about "it".
        size: bytes from there to the end of the file.
        kind: "torn" for a last line without its end, which was being written when the program
            stopped; "last" for a complete last line that is damaged; "middle" where lines follow.
    """

    line: int
    reason: str
    size: int
    kind: DamageKind

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class LogContent:
    """A log as it was read.

    Attributes:
        header: the first line.
        lines: the following lines up to the damage, if there is any.
        end: where these lines end.
        damage: what comes after them, or None.
    """

    header: LogHeader
    lines: Sequence[LogLine]
    end: LogEnd
    damage: LogDamage | None = None


def read_log(path: Path) -> LogContent:
    """Read and verify a log; only its last line may be damaged.

    Raises:
        ReadError: not a log, or damaged before its last line; the message names the line.
    """
    content = scan_log(path)
    damage = content.damage
    if damage is not None and damage.kind == "middle":
        raise ReadError(
            f"{path} is damaged at line {damage.line}: {damage.reason}. The "
            f"{len(content.lines)} commands before it are good; `segscope repair` on the folder "
            "of the project keeps them and moves the rest aside"
        )
    return content


def scan_log(path: Path) -> LogContent:
    """Read a log up to its end or to the first damaged line.

    Raises:
        ReadError: not a log, or its first line is damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ReadError(f"cannot read the log {path}: {reason_of(error)}") from error
    header: LogHeader | None = None
    lines: list[LogLine] = []
    end = LogEnd()
    damage: LogDamage | None = None
    for text in data.splitlines(keepends=True):
        try:
            if not text.endswith(b"\n"):
                raise ReadError("it is incomplete")
            item, next_end = verify(text, end)
            if header is None:
                header = LogHeader.from_json(item)
            else:
                lines.append(LogLine.from_json(item))
        except (SegscopeError, ValueError, KeyError, TypeError, AttributeError) as error:
            damage = _describe_damage(data[end.size :], end.lines + 1, error)
            break
        end = next_end
    if header is None:
        reason = "it is empty"
        if damage is not None:
            reason = f"it is damaged at {damage}"
        raise ReadError(f"{path} is not a segscope log: {reason}")
    return LogContent(header, lines, end, damage)


def _describe_damage(rest: bytes, line: int, error: Exception) -> LogDamage:
    reason = str(error)
    if not isinstance(error, SegscopeError):
        reason = f"a field is missing or malformed ({type(error).__name__}: {error})"
    kind = damage_kind(rest)
    if kind == "torn":
        reason = "it is incomplete"
    return LogDamage(line, reason, len(rest), kind)
