"""What file formats share: their protocol, the limits on untrusted sizes, and how reading fails."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from segscope.errors import ReadError, SegscopeError, UsageError
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


NO_SPACING = "the file states no usable voxel sizes; distances and volumes are unknown"
"""Note of formats that can state them."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Choices that a path may leave open.

    Attributes:
        series: which DICOM series of a folder (SeriesInstanceUID, its number in the listing from 1,
            or part of its description); None when there is only one.
        volume: which time point of a 4D file, from 0; None when there is only one.
        channel: which channel of a microscopy file, from 0; None for all.
        resample_slices: interpolate even slices where those of a DICOM series are uneven.
    """

    series: str | None = None
    volume: int | None = None
    channel: int | None = None
    resample_slices: bool = False


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

    `check` refuses what `write` could not do, by the same steps: it makes everything but the
    pixels. It is called before there are masks, with objects of which no pixel is known. `write`
    gets the final path and is atomic.
    """

    @property
    def name(self) -> str: ...

    @property
    def suffixes(self) -> tuple[str, ...]: ...

    def check(self, masks: Masks, path: Path, source: Stack | None) -> None: ...

    def write(self, masks: Masks, path: Path, source: Stack | None) -> None: ...


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


# --- reading -------------------------------------------------------------------------------------


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn whatever a library raises on a damaged file into a ReadError of one paragraph.

    Args:
        path: named in the message.
        what: what the file should have been, with its article ("a NIfTI file").
    """
    try:
        yield
    except (SegscopeError, KeyboardInterrupt):
        raise
    except FileNotFoundError as error:
        raise ReadError(f"{path} needs the file {error.filename}, which does not exist") from error
    except PermissionError as error:
        raise ReadError(f"no permission to read {path}; change its permissions") from error
    except MemoryError as error:
        raise ReadError(
            f"{path} does not fit into memory; crop it, or read it on a larger machine"
        ) from error
    # libraries raise anything on damaged files; the cause stays attached
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ReadError(
            f"{path} cannot be read as {what}: {reason}. Is it damaged or misnamed?"
        ) from error


def check_file(path: Path) -> int:
    """Size of a regular file in bytes.

    Raises:
        UsageError: nothing there, or not a regular file (a pipe or device would block).
        ReadError: empty or inaccessible.
    """
    with reading(path, "a file"):
        if not path.exists():
            raise UsageError(f"{path} does not exist; check the spelling and the current folder")
        if not path.is_file():
            raise UsageError(f"{path} is not a regular file; name a file")
        size = path.stat().st_size
        if size == 0:
            raise ReadError(f"{path} is empty (0 bytes); copy or export it again")
        return size


def refuse_options(path: Path, options: ReadOptions, *supported: str) -> None:
    """Raise UsageError for an option that does not apply to this file, rather than ignore it."""
    values = {
        "series": options.series,
        "volume": options.volume,
        "channel": options.channel,
        "resample_slices": options.resample_slices or None,
    }
    for name, value in values.items():
        if name not in supported and value is not None:
            raise UsageError(f"the option {name} does not apply to {path}; leave it out")


def choose_part(
    path: Path,
    requested: int | None,
    count: int,
    parts: str,
    option: str,
) -> int:
    """Index of the requested one of `count` parts.

    Args:
        path: named in the message.
        requested: from 0, or None where the user chose nothing.
        count: how many parts the file holds.
        parts: what they are, in the plural ("time points").
        option: the option that chooses one.

    Raises:
        UsageError: several parts and no choice, or no such part.
    """
    if requested is None and count == 1:
        return 0
    if requested is None:
        raise UsageError(
            f"{path} holds {count} {parts}; choose one with the option {option} "
            f"(0 to {count - 1}), or split the file first"
        )
    if not 0 <= requested < count:
        raise UsageError(
            f"{path} holds {count} {parts}, numbered 0 to {count - 1}; "
            f"there is no {option} {requested}"
        )
    return requested
