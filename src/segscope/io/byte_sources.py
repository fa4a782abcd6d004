"""Bytes of untrusted files, read a frame at a time: plain, or inflated once while going forward."""

from __future__ import annotations

import bz2
import tempfile
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError, SegscopeError, UsageError
from segscope.io.base import ReadOptions
from segscope.io.frame_source import LazyFrames

KEPT_IN_MEMORY = 512 * 2**20
"""Inflated data up to this many bytes stay in memory; more go to an unnamed temporary file."""

_CHUNK = 2**18
_MOST_INFLATION = 1100  # deflate makes at most 1032 bytes of one


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
        raise ReadError(f"{path} may not be read by this user; change its permissions") from error
    except MemoryError as error:
        raise ReadError(
            f"{path} does not fit into memory; cut it, or read it on a larger machine"
        ) from error
    except (
        Exception
    ) as error:  # libraries raise anything on damaged files; the cause stays attached
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ReadError(
            f"{path} cannot be read as {what}: {reason}. Is it damaged, or misnamed?"
        ) from error


def check_file(path: Path) -> int:
    """Size of a regular file in bytes.

    Raises:
        UsageError: nothing there, or not a regular file (a pipe or device would block).
        ReadError: empty, or out of reach.
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


def refuse_options(path: Path, options: ReadOptions, *taken: str) -> None:
    """Raise UsageError for a choice that means nothing to this file, rather than ignore it."""
    for name in ("series", "volume", "channel"):
        if name not in taken and getattr(options, name) is not None:
            raise UsageError(f"{path} has no choice of {name}; leave the option {name} out")


def choose(path: Path, wanted: int | None, count: int, what: str, option: str) -> int:
    """Index of one of `count` parts, or a refusal that says how many there are and what to pass."""
    if wanted is None and count == 1:
        return 0
    if wanted is None:
        raise UsageError(
            f"{path} holds {count} {what}; choose one with the option {option} (0 to {count - 1}), "
            "or split the file first"
        )
    if not 0 <= wanted < count:
        raise UsageError(
            f"{path} holds {count} {what}, numbered 0 to {count - 1}; there is no {option} {wanted}"
        )
    return wanted


class Bytes(Protocol):
    """Decoded data of a file; `read(start, count)` gives exactly `count` bytes or raises ReadError."""

    def read(self, start: int, count: int) -> bytes: ...


@dataclass(frozen=True)
class PlainBytes:
    """Stored bytes from `offset` on. The file is opened for each read: nothing is held, forks and
    threads are safe.
    """

    path: Path
    offset: int

    def read(self, start: int, count: int) -> bytes:
        with reading(self.path, "stored data"), self.path.open("rb") as file:
            file.seek(self.offset + start)
            data = file.read(count)
        if len(data) != count:
            raise ReadError(
                f"{self.path} ends early: {count} bytes wanted at {self.offset + start}, {len(data)} found. "
                "It is cut off or was changed; copy or export it again."
            )
        return data


class InflatedBytes:
    """Data of a zlib, gzip or bzip2 stream; each byte is inflated once, and only as far as was
    asked for.

    Args:
        path: the file.
        offset: where the compressed stream starts.
        skip: decoded bytes to drop before the first that counts.
        total: decoded bytes that count; no more is ever inflated or kept.
        codec: "deflate" (zlib or gzip) or "bzip2".

    Raises:
        ReadError: `total` is more than the file can inflate to; nothing is allocated then.
    """

    def __init__(
        self, path: Path, offset: int, skip: int, total: int, codec: str = "deflate"
    ) -> None:
        size = path.stat().st_size
        if codec == "deflate" and skip + total > (size - offset) * _MOST_INFLATION:
            raise ReadError(
                f"{path} declares {total} bytes of data, more than its {size} bytes can hold even when compressed; "
                "it is cut off or its header is damaged"
            )
        self.path = path
        self.total = total
        self._skip = skip
        self._at = offset
        self._new: Callable[[], Any] = (
            bz2.BZ2Decompressor if codec == "bzip2" else lambda: zlib.decompressobj(47)
        )
        self._inflater = self._new()
        self._done = 0
        self._lock = threading.Lock()
        self._memory: NDArray[np.uint8] | None = None
        if total <= KEPT_IN_MEMORY:
            self._memory = np.empty(total, np.uint8)
        else:
            self._file = tempfile.TemporaryFile(prefix="segscope-")  # noqa: SIM115 - lives as long as this object
            weakref.finalize(self, self._file.close)

    def read(self, start: int, count: int) -> bytes:
        with self._lock, reading(self.path, "compressed data"):
            if self._done < start + count:
                self._forward(start + count)
            if self._memory is not None:
                return self._memory[start : start + count].tobytes()
            self._file.seek(start)
            return self._file.read(count)

    def _forward(self, until: int) -> None:
        with self.path.open("rb") as file:
            while self._done < until:
                self._keep(self._inflate(file))
            if self._done == self.total:
                self._check_trailer(file)

    def _inflate(self, file: Any) -> bytes:
        """The next decoded bytes, at most a few megabytes."""
        pending = b""
        if self._inflater.eof:  # gzip and bzip2 files may be several streams in a row
            pending = self._inflater.unused_data
            self._inflater = self._new()
        elif isinstance(self._inflater, bz2.BZ2Decompressor):
            if not self._inflater.needs_input:
                return self._inflater.decompress(b"", 16 * _CHUNK)
        else:
            pending = self._inflater.unconsumed_tail
        if not pending:
            file.seek(self._at)
            pending = file.read(_CHUNK)
            self._at += len(pending)
        if not pending:
            raise ReadError(
                f"{self.path} ends early: {self.total} bytes of data declared, {self._done} found. "
                "It is cut off; copy or export it again."
            )
        data: bytes = self._inflater.decompress(pending, 16 * _CHUNK)
        return data

    def _keep(self, data: bytes) -> None:
        dropped = min(self._skip, len(data))
        self._skip -= dropped
        data = data[dropped : dropped + self.total - self._done]
        if self._memory is not None:
            self._memory[self._done : self._done + len(data)] = np.frombuffer(data, np.uint8)
        else:
            self._file.seek(self._done)
            self._file.write(data)
        self._done += len(data)

    def _check_trailer(self, file: Any) -> None:
        """Let the codec compare its checksum, which stands behind the last data byte."""
        for _ in range(4):
            if self._inflater.eof:
                return
            self._inflate(file)


class RawFrames(LazyFrames):
    """Frames that lie one after the other in decoded bytes (a FrameSource).

    Args:
        path: named in messages.
        data: where the bytes are.
        stored: their type, with its byte order.
        shape: (frame, row, column[, value]); values of one voxel are neighbours.
        start: first byte of frame 0.
        pick: take only this value of each voxel, so that `shape` of the source has no value axis.
        slope, intercept: value = stored * slope + intercept.
    """

    def __init__(
        self,
        path: Path,
        data: Bytes,
        stored: np.dtype[Any],
        shape: tuple[int, ...],
        *,
        start: int = 0,
        pick: int | None = None,
        slope: float = 1.0,
        intercept: float = 0.0,
    ) -> None:
        self._path = path
        self._data = data
        self._stored = stored
        self._start = start
        self._pick = pick
        self._frame_shape = shape[1:]
        self._slope = slope
        self._intercept = intercept
        self._scaled = (slope, intercept) != (1.0, 0.0)
        small = stored.itemsize <= 2 or stored == np.float32
        scaled_type = np.dtype(np.float32 if small else np.float64)
        dtype = scaled_type if self._scaled else stored.newbyteorder("=")
        super().__init__(shape if pick is None else shape[:3], dtype)

    def read_frame(self, index: int) -> NDArray[Any]:
        count = int(np.prod(self._frame_shape, dtype=np.int64)) * self._stored.itemsize
        frame = np.frombuffer(self._data.read(self._start + index * count, count), self._stored)
        frame = frame.reshape(self._frame_shape)
        if self._pick is not None:
            frame = frame[..., self._pick]
        if not self._scaled:
            return frame.astype(self._dtype)
        return (frame * np.float64(self._slope) + np.float64(self._intercept)).astype(self._dtype)


@dataclass(frozen=True)
class HeldBytes:
    """Bytes that are in memory already."""

    path: Path
    held: bytes

    def read(self, start: int, count: int) -> bytes:
        data = self.held[start : start + count]
        if len(data) != count:
            raise ReadError(
                f"{self.path} ends early: {start + count} bytes of data wanted, {len(self.held)} found"
            )
        return data


def beside(header: Path, name: str) -> Path:
    """The data file that a header names; it must lie in the folder of the header or below.

    Raises:
        ReadError: a path that leads out of that folder, or nothing there.
    """
    folder = header.parent.resolve()
    data = (folder / name).resolve()
    if not data.is_relative_to(folder):
        raise ReadError(
            f"{header} keeps its data in {name!r}, outside its own folder; put both files into one folder"
        )
    if not data.is_file():
        raise ReadError(
            f"{header} keeps its data in {name!r}, which is not there; copy both files together"
        )
    return data


def plain(path: Path, offset: int, total: int) -> PlainBytes:
    """Stored bytes from `offset` on, after a check that `total` of them are there."""
    size = check_file(path)
    if size < offset + total:
        raise ReadError(
            f"{path} is cut off: {total} bytes of data are declared from byte {offset} on, the file has {size}. "
            "Copy or export it again."
        )
    return PlainBytes(path, offset)
