"""What was cut off the end of a log: files `log.jsonl.damaged-1`, `-2` and so on beside it."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Literal

from segscope.errors import WriteError
from segscope.files import reason_of, sync

PADDING = b"\0\r\n"  # what a power failure may leave after the last line

DamageKind = Literal["torn", "last", "middle"]
"""`LogDamage.kind`"""


def damage_kind(rest: bytes) -> DamageKind:
    """How a log ends whose bytes from the first damaged line on are `rest`."""
    remaining = rest.strip(PADDING)
    if b"\n" in remaining:
        return "middle"
    if not remaining or not rest.endswith(b"\n"):
        return "torn"
    return "last"


def free_name(log: Path) -> Path:
    """A name beside a log for its damaged part."""
    number = 1
    # a marker whose file was removed must not count for another one
    while (aside := _part(log, number)).exists() or _marker(aside).exists():
        number += 1
    return aside


def lost_commands(log: Path) -> list[Path]:
    """Damaged parts of a log that were complete lines, so that clients took them for saved."""
    return [part for part in _parts(log) if damage_kind(part.read_bytes()) != "torn"]


def unacknowledged(log: Path) -> list[Path]:
    """Those of the `lost_commands` that no annotator has acknowledged."""
    return [part for part in lost_commands(log) if not _marker(part).exists()]


def acknowledge(log: Path) -> None:
    """Mark all `lost_commands` of a log as known to its annotator.

    Raises:
        WriteError: the file system refuses.
    """
    for part in unacknowledged(log):
        marker = _marker(part)
        try:
            marker.touch()
            sync(marker.parent)
        except OSError as error:
            raise WriteError(f"cannot write {marker}: {reason_of(error)}") from error


def _parts(log: Path) -> list[Path]:
    """All damaged parts of a log by their numbers, which may have gaps."""
    pattern = f"{glob.escape(log.name)}.damaged-*"
    parts = [part for part in log.parent.glob(pattern) if _number(part).isdecimal()]
    return sorted(parts, key=lambda part: int(_number(part)))


def _number(part: Path) -> str:
    return part.name.rpartition("-")[2]


def _part(log: Path, number: int) -> Path:
    return log.with_name(f"{log.name}.damaged-{number}")


def _marker(part: Path) -> Path:
    return part.with_name(f"{part.name}.acknowledged")
