"""What file formats share: their protocol and the limits on untrusted sizes."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from segscope.errors import ReadError, UsageError
from segscope.masks import Masks
from segscope.stack import Stack


def read_limit(name: str, default: int) -> int:
    """A limit that an environment variable may change."""
    text = os.environ.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or int(text) == 0:
        raise UsageError(
            f"the environment variable {name} is {text!r}; "
            "set it to a whole number above 0, or leave it unset"
        )
    return int(text)


MAX_BYTES = read_limit("SEGSCOPE_MAX_BYTES", 64 * 2**30)
"""Most bytes that a file may declare for all its decoded data (environment SEGSCOPE_MAX_BYTES)."""

MAX_FRAME_PIXELS = read_limit("SEGSCOPE_MAX_FRAME_PIXELS", 2**28)
"""Most pixels that one frame may declare, about 16,000 x 16,000 (environment
SEGSCOPE_MAX_FRAME_PIXELS).
"""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Choices that a path may leave open.

    Attributes:
        series: which DICOM series of a folder (SeriesInstanceUID, its number in the listing from 1,
            or part of its description); None when there is only one.
        volume: which time point of a 4D file, from 0; None when there is only one.
        channel: which channel of a microscopy file, from 0; None for all.
    """

    series: str | None = None
    volume: int | None = None
    channel: int | None = None


class Format(Protocol):
    """One family of files. The table FORMATS in `io/__init__.py` lists them; the first that
    recognises a path reads it.

    `recognises` looks at the name and, where names are not reliable, at the first bytes; it opens
    nothing else. `read` returns a lazy stack where the file allows it. Both treat the file as
    untrusted.
    """

    @property
    def name(self) -> str: ...

    @property
    def suffixes(self) -> tuple[str, ...]: ...

    def recognises(self, path: Path) -> bool: ...

    def read(self, path: Path, options: ReadOptions) -> Stack: ...


class FileFormat:
    """For formats of single files that are recognised by their suffix."""

    suffixes: tuple[str, ...]

    def recognises(self, path: Path) -> bool:
        return path.is_file() and suffix_of(path, self.suffixes) is not None


class FolderFormat(ABC):
    """For formats that are folders; the contents are looked at for folders only."""

    suffixes: tuple[str, ...] = ()

    def recognises(self, path: Path) -> bool:
        return path.is_dir() and self.recognises_folder(path)

    @abstractmethod
    def recognises_folder(self, folder: Path) -> bool:
        """Whether a folder holds this format."""


class MaskFormat(Protocol):
    """One kind of file that masks are written to, chosen by suffix.

    `check` refuses what `write` could not do. It is called before there are masks, with masks of
    the right shape and no objects. `write` gets the final path and is atomic.
    """

    @property
    def name(self) -> str: ...

    @property
    def suffixes(self) -> tuple[str, ...]: ...

    def check(self, masks: Masks, path: Path, source: Stack | None) -> None: ...

    def write(self, masks: Masks, path: Path, source: Stack | None) -> None: ...


class FitsAll:
    """For formats that take masks of every stack."""

    def check(self, masks: Masks, path: Path, source: Stack | None) -> None:
        """Nothing to refuse."""


def check_declared(path: Path, shape: tuple[int, ...], bytes_per_value: int) -> None:
    """Refuse a header that declares more than the limits, before any memory is allocated.

    Args:
        path: named in the message.
        shape: declared size, (frame, row, column[, channel]).
        bytes_per_value: of the stored type.

    Raises:
        ReadError: an axis that is not positive, or more bytes or pixels than the limits.
    """
    lengths = [int(length) for length in shape]
    if min(lengths, default=1) <= 0:
        raise ReadError(
            f"{path} declares an empty size {tuple(lengths)}; the file is damaged or not an image"
        )
    total = bytes_per_value
    for length in lengths:
        total *= length
    if len(lengths) > 2:
        frame_pixels = lengths[1] * lengths[2]
    else:
        frame_pixels = lengths[0] * lengths[1]
    if total > MAX_BYTES or frame_pixels > MAX_FRAME_PIXELS:
        raise ReadError(
            f"{path} declares {' x '.join(map(str, lengths))} values ({total / 2**30:.1f} GiB); "
            f"the limits are {MAX_BYTES / 2**30:.0f} GiB in total and {MAX_FRAME_PIXELS:,} pixels "
            "per frame. If the file is correct, raise SEGSCOPE_MAX_BYTES or "
            "SEGSCOPE_MAX_FRAME_PIXELS."
        )


def suffix_of(path: Path, known: tuple[str, ...]) -> str | None:
    """The longest of `known` suffixes (lower case, with dots) that the name ends with, or None."""
    name = path.name.lower()
    matching = [suffix for suffix in known if name.endswith(suffix)]
    return max(matching, key=len, default=None)
