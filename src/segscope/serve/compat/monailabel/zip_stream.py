"""A zip of files as a stream, so that its size is bounded by no memory."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

_CHUNK = 2**20


class _Outbox(io.RawIOBase):
    """A file that can only be written; what was written is taken out chunk by chunk."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        part = bytes(data)  # type: ignore[call-overload]
        self._parts.append(part)
        return len(part)

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def stream_zip(files: Iterable[tuple[Path, str]]) -> Iterator[bytes]:
    """The bytes of an uncompressed zip of files that exist, each under its name."""
    outbox = _Outbox()
    with zipfile.ZipFile(outbox, "w", zipfile.ZIP_STORED) as archive:
        for path, name in files:
            if not path.is_file():
                continue
            with path.open("rb") as source, archive.open(_entry(path, name), "w") as target:
                while chunk := source.read(_CHUNK):
                    target.write(chunk)
                    yield outbox.take()
    yield outbox.take()


def _entry(path: Path, name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
    entry.file_size = path.stat().st_size  # large files need fields of 64 bits from the start
    return entry
