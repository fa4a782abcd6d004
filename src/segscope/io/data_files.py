"""Data that a header names: one file beside it, or one file a slice.

NRRD and MetaImage write several files alike: as a list of names behind the header, or as a pattern
with its first number, last number and step ("slice%03d.raw 1 40 1").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segscope.errors import ReadError
from segscope.io.byte_sources import ByteSource
from segscope.io.paths import find_path, lies_within

_MAX_FILES = 100_000
_PATTERN = re.compile(r"([^%]*)%(0?\d{0,2})[di]([^%]*)")
_PLACEHOLDER = re.compile(r"%0?\d{0,2}[di]")


def resolve_data_file(header: Path, name: str) -> Path:
    """The data file that a header names; it must lie in the folder of the header or below.

    Raises:
        ReadError: a path that leads out of that folder, or to nothing.
    """
    if "\0" in name:
        raise ReadError(f"{header} refers to its data as {name[:40]!r}; it is damaged")
    folder = header.parent.resolve()
    data = find_path(folder / name)
    if not lies_within(data, folder):
        raise ReadError(
            f"{header} refers to its data as {name!r}, outside its own folder; "
            "put both files into one folder"
        )
    if not data.is_file():
        raise ReadError(
            f"{header} refers to its data as {name!r}, which is not there; copy both files together"
        )
    return data.resolve()


def names_list(text: str) -> bool:
    """Whether the name of a data file says that a list of names follows: LIST, and a number."""
    return text.split()[:1] == ["LIST"]


def is_pattern(text: str) -> bool:
    """Whether the name of a data file has a place for the number of the file."""
    return _PLACEHOLDER.search(text) is not None


def expand_pattern(header: Path, text: str) -> list[str]:
    """Names by a pattern, its first number, last number and step.

    Raises:
        ReadError: it is not such a pattern, or names too many files.
    """
    pattern, *numbers = text.split()
    match = _PATTERN.fullmatch(pattern)
    if match is None or len(numbers) < 3:
        raise ReadError(
            f"{header} names its data files as {text!r}; expected a pattern with one number "
            "(slice%03d.raw), the first number, the last, and the step"
        )
    before, width, after = match.groups()
    first, last, step = map(int, numbers[:3])
    if step == 0 or abs(last - first) // abs(step) >= _MAX_FILES:
        raise ReadError(f"{header} names its data files from {first} to {last} by {step}")
    end = last + (1 if step > 0 else -1)
    return [f"{before}{number:{width}d}{after}" for number in range(first, end, step)]


@dataclass(frozen=True)
class JoinedBytes:
    """Decoded data that lie in several files of equal length, one after the other.

    Attributes:
        parts: the data of each file.
        part_bytes: their length.
    """

    parts: Sequence[ByteSource]
    part_bytes: int

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(file for part in self.parts for file in part.files)

    def read(self, start: int, count: int) -> bytes:
        chunks = []
        while count > 0:
            number, place = divmod(start, self.part_bytes)
            length = min(count, self.part_bytes - place)
            chunks.append(self.parts[number].read(place, length))
            start += length
            count -= length
        return b"".join(chunks)


def share_bytes(header: Path, names: Sequence[str], total: int, expected: int | None) -> int:
    """Bytes that each of several files holds.

    Args:
        header: named in the message.
        names: of the files.
        total: bytes of all.
        expected: number of files that the header implies; None where any that divides the data
            evenly is right.

    Raises:
        ReadError: another number of files.
    """
    count = len(names)
    if not names or total % count or expected not in (None, count):
        wanted = f"expected {expected}" if expected else f"they cannot share {total} bytes evenly"
        raise ReadError(f"{header} keeps its data in several files and names {count}; {wanted}")
    return total // count
