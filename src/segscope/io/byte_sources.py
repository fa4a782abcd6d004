"""Bytes of untrusted files, read a frame at a time: plain, or inflated once while going forward."""

from __future__ import annotations

import bz2
import gzip
import os
import tempfile
import threading
import weakref
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, Protocol

import numpy as np

from segscope.arrays import Pixels, PixelType
from segscope.errors import ReadError
from segscope.io.base import MAX_BYTES, check_file, reading
from segscope.io.frame_source import LazyFrames

MAX_MEMORY_BYTES = 512 * 2**20
"""Inflated data up to this many bytes stay in memory; more go to an unnamed temporary file."""

Codec = Literal["deflate", "bzip2"]

_CHUNK = 2**18
_MAX_INFLATION = 1100  # deflate turns one byte into at most 1032
_AUTO_DETECT_ZLIB = 47  # zlib's window bits for "zlib or gzip, as the header says"


# --- where bytes come from -----------------------------------------------------------------------


class ByteSource(Protocol):
    """Decoded data of files: `read` gives exactly `count` bytes or raises ReadError."""

    @property
    def files(self) -> tuple[Path, ...]: ...

    def read(self, start: int, count: int) -> bytes: ...


@dataclass(frozen=True)
class PlainBytes:
    """Stored bytes from `offset` on.

    The file is opened for each read: no handle stays open, so forks and threads are safe. A file
    that was written anew since is refused, as its bytes may mean something else.
    """

    path: Path
    offset: int
    changed_ns: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "changed_ns", self.path.stat().st_mtime_ns)

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def read(self, start: int, count: int) -> bytes:
        position = self.offset + start
        with reading(self.path, "stored data"), self.path.open("rb") as file:
            _check_unchanged(self.path, file, self.changed_ns)
            file.seek(position)
            data = file.read(count)
        if len(data) != count:
            raise ReadError(
                f"{self.path} ends early: expected {count} bytes at byte {position}, "
                f"got {len(data)}. It is cut off or has changed; copy or export it again."
            )
        return data


def _check_unchanged(path: Path, file: IO[bytes], changed_ns: int) -> None:
    if os.fstat(file.fileno()).st_mtime_ns != changed_ns:
        raise ReadError(
            f"{path} has changed since it was opened; open it again to read it as it is now"
        )


@dataclass(frozen=True)
class MemoryBytes:
    """Bytes that are in memory already."""

    path: Path
    content: bytes

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def read(self, start: int, count: int) -> bytes:
        data = self.content[start : start + count]
        if len(data) != count:
            raise ReadError(
                f"{self.path} ends early: expected {start + count} bytes of data, "
                f"got {len(self.content)}. Copy or export it again."
            )
        return data


class InflatedBytes:
    """Data of a zlib, gzip or bzip2 stream; each byte is inflated once, and only when needed.

    Args:
        path: the file.
        offset: where the compressed stream starts.
        skip: decoded bytes to drop before the first that counts.
        total: decoded bytes that count; no more is ever inflated or stored.
        codec: "deflate" stands for zlib and gzip.

    Raises:
        ReadError: `total` is more than the file can inflate to; nothing is allocated then.
    """

    def __init__(
        self,
        path: Path,
        offset: int,
        skip: int,
        total: int,
        codec: Codec = "deflate",
    ) -> None:
        status = path.stat()
        size = status.st_size
        self._changed_ns = status.st_mtime_ns
        if codec == "deflate" and skip + total > (size - offset) * _MAX_INFLATION:
            raise ReadError(
                f"{path} declares {total} bytes of data, more than its {size} bytes can hold even "
                "when compressed; it is cut off, or its header is damaged"
            )
        self.path = path
        self.total = total
        self._skip = skip
        self._position = offset
        self._new_inflater: Callable[[], Any] = lambda: zlib.decompressobj(_AUTO_DETECT_ZLIB)
        if codec == "bzip2":
            self._new_inflater = bz2.BZ2Decompressor
        self._inflater = self._new_inflater()
        self._done = 0
        self._lock = threading.Lock()
        self._memory: Pixels | None = None
        if total <= MAX_MEMORY_BYTES:
            self._memory = np.empty(total, np.uint8)
        else:
            # lives as long as this object
            self._file = tempfile.TemporaryFile(prefix="segscope-")  # noqa: SIM115
            weakref.finalize(self, self._file.close)

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def read(self, start: int, count: int) -> bytes:
        with self._lock, reading(self.path, "compressed data"):
            if self._done < start + count:
                self._inflate_until(start + count)
            if self._memory is not None:
                return self._memory[start : start + count].tobytes()
            self._file.seek(start)
            return self._file.read(count)

    @property
    def inflated_bytes(self) -> int:
        """How many of the bytes that count are inflated by now."""
        return self._done

    def _inflate_until(self, end: int) -> None:
        with self.path.open("rb") as file:
            _check_unchanged(self.path, file, self._changed_ns)
            while self._done < end:
                self._store(self._inflate_next(file))
            if self._done == self.total:
                self._check_trailer(file)

    def _inflate_next(self, file: IO[bytes]) -> bytes:
        """The next decoded bytes, at most a few megabytes."""
        pending = b""
        if self._inflater.eof:  # gzip and bzip2 files may be several streams in a row
            pending = self._inflater.unused_data
            self._inflater = self._new_inflater()
        elif isinstance(self._inflater, bz2.BZ2Decompressor):
            if not self._inflater.needs_input:
                return self._inflater.decompress(b"", 16 * _CHUNK)
        else:
            pending = self._inflater.unconsumed_tail
        if not pending:
            file.seek(self._position)
            pending = file.read(_CHUNK)
            self._position += len(pending)
        if not pending:
            raise ReadError(
                f"{self.path} ends early: it declares {self.total} bytes of data and holds "
                f"{self._done}. It is cut off; copy or export it again."
            )
        data: bytes = self._inflater.decompress(pending, 16 * _CHUNK)
        return data

    def _store(self, data: bytes) -> None:
        dropped = min(self._skip, len(data))
        self._skip -= dropped
        data = data[dropped : dropped + self.total - self._done]
        if self._memory is not None:
            self._memory[self._done : self._done + len(data)] = np.frombuffer(data, np.uint8)
        else:
            self._file.seek(self._done)
            self._file.write(data)
        self._done += len(data)

    def _check_trailer(self, file: IO[bytes]) -> None:
        """Let the codec compare its checksum, which stands behind the last data byte."""
        for _ in range(4):
            if self._inflater.eof:
                return
            self._inflate_next(file)


def open_plain_bytes(path: Path, offset: int, total: int) -> PlainBytes:
    """Stored bytes from `offset` on, after a check that `total` of them are there."""
    size = check_file(path)
    if size < offset + total:
        raise ReadError(
            f"{path} is cut off: it declares {total} bytes of data from byte {offset} on, "
            f"but has only {size} bytes. Copy or export it again."
        )
    return PlainBytes(path, offset)


def open_last_bytes(path: Path, total: int) -> PlainBytes:
    """The last `total` stored bytes, after a check that so many are there."""
    size = check_file(path)
    if size < total:
        raise ReadError(
            f"{path} is cut off: {total} bytes of data are declared as its last, but it has only "
            f"{size} bytes. Copy or export it again."
        )
    return PlainBytes(path, size - total)


def measure_inflated(path: Path, offset: int, codec: Codec = "deflate") -> int:
    """Bytes that the gzip or bzip2 streams from `offset` on inflate to; nothing is stored.

    Raises:
        ReadError: damaged, or more than the limit of one file.
    """
    length = 0
    with reading(path, "compressed data"), path.open("rb") as file:
        file.seek(offset)
        inflated: IO[bytes] = bz2.BZ2File(file)
        if codec == "deflate":
            inflated = gzip.GzipFile(fileobj=file)  # type: ignore[assignment]
        while chunk := inflated.read(16 * _CHUNK):
            length += len(chunk)
            if length > MAX_BYTES:
                raise ReadError(
                    f"{path} inflates to more than {MAX_BYTES / 2**30:.0f} GiB; "
                    "if it is correct, raise SEGSCOPE_MAX_BYTES"
                )
    return length


# --- frames of them ------------------------------------------------------------------------------


@dataclass(frozen=True)
class RawLayout:
    """How voxels lie in decoded bytes.

    Attributes:
        stored: their type, with its byte order.
        shape: (frame, row, column[, component]); the components of one voxel are neighbours.
        start: first byte of frame 0.
        component: take only this component of each voxel; None for all.
        slope, intercept: value = stored * slope + intercept.
    """

    stored: PixelType
    shape: tuple[int, ...]
    start: int = 0
    component: int | None = None
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def is_scaled(self) -> bool:
        """Whether values differ from what is stored."""
        return (self.slope, self.intercept) != (1.0, 0.0)

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.stored.itemsize

    @property
    def value_type(self) -> PixelType:
        """Type of the values in native byte order."""
        if not self.is_scaled:
            return self.stored.newbyteorder("=")
        fits_float32 = self.stored.itemsize <= 2 or self.stored == np.float32
        if fits_float32:
            return np.dtype(np.float32)
        return np.dtype(np.float64)


class RawFrames(LazyFrames):
    """Frames that lie one after the other in decoded bytes.

    Args:
        path: named in messages.
        data: where the bytes are.
        layout: how voxels lie in them.
    """

    def __init__(self, path: Path, data: ByteSource, layout: RawLayout) -> None:
        shape = layout.shape
        if layout.component is not None:
            shape = shape[:3]
        super().__init__(shape, layout.value_type)
        self._path = path
        self.data = data
        self._layout = layout

    def read_frame(self, index: int) -> Pixels:
        layout = self._layout
        start = layout.start + index * layout.frame_bytes
        stored = np.frombuffer(self.data.read(start, layout.frame_bytes), layout.stored)
        frame = stored.reshape(layout.shape[1:])
        if layout.component is not None:
            frame = frame[..., layout.component]
        if not layout.is_scaled:
            return frame.astype(self.dtype)
        values = frame * np.float64(layout.slope) + np.float64(layout.intercept)
        return values.astype(self.dtype)
