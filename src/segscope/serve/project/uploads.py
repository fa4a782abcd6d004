"""Uploaded files: where they are stored, and how they are arranged into one readable path."""

from __future__ import annotations

import shutil
import tempfile
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from segscope.errors import ReadError, UsageError
from segscope.serve.project import safe_paths
from segscope.serve.project.safe_unzip import unpack
from segscope.serve.settings import Limits

_INCOMING = "incoming-"
_IGNORED = ("__MACOSX", ".")  # what archivers add of their own
_NOT_UNPACKED = (".npz", ".docx")  # zip files that are read as they are

UploadedFile = tuple[str, Path]
"""The name that the client gave, and where the file is now."""


class Uploads:
    """The folder of a project that holds the uploaded images."""

    def __init__(self, project: Path, limits: Limits) -> None:
        self._folder = project / "uploads"
        self._limits = limits
        self._folder.mkdir(exist_ok=True)
        for leftover in self._folder.glob(f"{_INCOMING}*"):  # cut off when the server stopped
            safe_paths.discard(leftover)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A temporary folder on the disk of the uploads, removed after the block."""
        self._folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_INCOMING, dir=self._folder) as folder:
            yield Path(folder)

    def incoming(self) -> Path:
        """A new folder on that disk; it is removed when the server starts again at the latest."""
        return Path(tempfile.mkdtemp(prefix=_INCOMING, dir=self._folder))

    @contextmanager
    def arrange(self, files: Sequence[UploadedFile]) -> Iterator[ArrangedUpload]:
        """Move uploaded files into a folder of their own, unpacking archives.

        The folder is removed after the block unless `ArrangedUpload.store` was called.

        Raises:
            UsageError: no files, or two of the same name.
            ReadError: an archive is damaged, or holds no files.
            TooLarge, Refused: an archive exceeds the limits, or would write outside of the folder.
        """
        if not files:
            raise UsageError("an upload needs at least one file")
        incoming = self._folder / f"{_INCOMING}{uuid.uuid4().hex}"
        incoming.mkdir()
        try:
            self._move(files, incoming)
            yield ArrangedUpload(self._folder, incoming, _readable_path(incoming))
        finally:
            safe_paths.discard(incoming)

    def _move(self, files: Sequence[UploadedFile], incoming: Path) -> None:
        names: set[str] = set()
        for client_name, path in files:
            name = safe_paths.safe_name(client_name)
            if name in names:
                raise UsageError("two uploaded files share a name; rename one of them")
            names.add(name)
            target = incoming / name
            shutil.move(path, target)
            if zipfile.is_zipfile(target) and target.suffix.lower() not in _NOT_UNPACKED:
                unpack(target, incoming, self._limits)
                target.unlink()


class ArrangedUpload:
    """Uploaded files in a temporary folder.

    Attributes:
        path: the file or folder to read.
    """

    def __init__(self, uploads: Path, incoming: Path, path: Path) -> None:
        self._uploads = uploads
        self._incoming = incoming
        self.path = path

    def store(self, image_id: str) -> Path:
        """Move the files to where uploads of that id are stored; the new path to read."""
        place = self._uploads / image_id
        safe_paths.discard(place)
        self._incoming.rename(place)
        return place / self.path.relative_to(self._incoming)


def _readable_path(folder: Path) -> Path:
    """The only file below a folder, or the folder that holds all files, past wrapping folders."""
    current = folder
    while current.is_dir():
        entries = [entry for entry in current.iterdir() if not entry.name.startswith(_IGNORED)]
        if not entries:
            raise ReadError("the upload contains no files")
        if len(entries) > 1:
            return current
        current = entries[0]
    return current
