"""Images of a project: identified by a hash of their content, read when first needed."""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from segscope.arrays import Pixels
from segscope.errors import ReadError, SegscopeError, UsageError
from segscope.files import list_visible
from segscope.io import FORMATS, read
from segscope.io.paths import lies_within, resolve_links
from segscope.io.video.frame_folder import FrameFolder
from segscope.render import Renderer
from segscope.serve.background import BackgroundThreads
from segscope.serve.errors import NotFound, Refused, TooLarge
from segscope.serve.project import safe_paths
from segscope.serve.project.database import Database, now
from segscope.serve.project.image_encoding import encode_image, encode_thumbnail
from segscope.serve.project.image_records import (
    NO_CHOICE,
    Image,
    ReadChoice,
    StoredImage,
    image_id_of,
    stack_bytes,
)
from segscope.serve.project.sandboxed_reader import read_sandboxed
from segscope.serve.project.uploads import UploadedFile, Uploads
from segscope.serve.settings import ServerSettings
from segscope.stack import Stack

log = logging.getLogger("segscope.serve")

CACHED = 6  # stacks and renderers kept open besides those in use by sessions
DisplayWindow = str | Mapping[str, Any] | None
"""A window as `segscope.render.Renderer` takes it."""

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True)
class FolderEntry:
    """An entry of a folder that clients may open; `path` is relative to its root."""

    name: str
    path: str
    kind: Literal["folder", "image"]


class _RecentlyUsed(Generic[Key, Value]):
    """A cache of the `CACHED` values used last."""

    def __init__(self) -> None:
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        return self._values.get(key)

    def put(self, key: Key, value: Value) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        while len(self._values) > CACHED:
            self._values.popitem(last=False)


class Images:
    """The images of one project."""

    def __init__(self, database: Database, settings: ServerSettings) -> None:
        self._database = database
        self._settings = settings
        self.uploads = Uploads(settings.project, settings.limits)
        self._stacks: _RecentlyUsed[tuple[str, int], Stack] = _RecentlyUsed()
        self._renderers: _RecentlyUsed[tuple[str, int, str], Renderer] = _RecentlyUsed()
        self._lock = threading.RLock()
        self._background = BackgroundThreads("segscope-prefetch")

    def close(self) -> None:
        """Stop opening images in the background."""
        self._background.close()

    # --- records ---------------------------------------------------------------------------------

    def list_stored(self) -> list[StoredImage]:
        """All images, oldest first."""
        rows = self._database.rows("SELECT * FROM images ORDER BY created, id")
        return [StoredImage.from_row(row) for row in rows]

    def find(self, image_id: str) -> StoredImage | None:
        """The image of that id, or None."""
        row = self._database.row("SELECT * FROM images WHERE id = ?", image_id)
        if row is None:
            return None
        return StoredImage.from_row(row)

    def get(self, image_id: str) -> StoredImage:
        """The image of that id.

        Raises:
            NotFound: no such image.
        """
        stored = self.find(image_id)
        if stored is None:
            raise NotFound("no such image; `GET /v1/images` lists the images of this project")
        return stored

    # --- adding images ---------------------------------------------------------------------------

    def resolve(self, root: int, relative: str, choice: ReadChoice = NO_CHOICE) -> Image:
        """The image at a path below a root, added to the project if it is new."""
        path = safe_paths.resolve_below(self._settings.roots, root, relative)
        safe_paths.check_links(path, self._settings.roots[root])
        return self.add(path, choice)

    def add(self, path: Path, choice: ReadChoice = NO_CHOICE) -> Image:
        """Add the image at a path that is known to lie below a root.

        Raises:
            ReadError, UsageError: not an image, or the path holds several and none was chosen.
        """
        path = resolve_links(path)
        stack = read(path, **choice.options())
        image_id = image_id_of(self.content_hash(path), choice.options())
        image = Image.of(stack, image_id, path.name, "root")
        return self._insert(StoredImage(image, path, choice), stack)

    def upload(
        self,
        files: Sequence[UploadedFile],
        choice: ReadChoice = NO_CHOICE,
        *,
        name: str | None = None,
    ) -> Image:
        """Add the image of uploaded files; the files are moved away from where they are.

        Raises:
            ReadError, UsageError: not an image; the files are removed.
        """
        with self.uploads.arrange(files) as upload:
            image_id = image_id_of(safe_paths.content_hash(upload.path), choice.options())
            existing = self.find(image_id)
            if existing is not None:
                return existing.image
            limits = self._settings.limits
            read_sandboxed(upload.path, choice.options(), limits)  # before anything is stored
            path = upload.store(image_id)
            stack = read_sandboxed(path, choice.options(), limits)
            image = Image.of(stack, image_id, name or path.name, "upload")
            return self._insert(StoredImage(image, path, choice), stack)

    def _insert(self, stored: StoredImage, stack: Stack) -> Image:
        """Add an image that was read, or update the place of one that was moved."""
        image = stored.image
        if self.find(image.image_id) is None:  # one that is known opens on a full disk, too
            row = stored.to_row() | {"created": now()}
            self._database.insert("images", row, otherwise="OR IGNORE")
        if not self.get(image.image_id).path.exists():
            moved = {"path": str(stored.path), "origin": image.origin, "name": image.name}
            self._database.update("images", image.image_id, moved)
        with self._lock:
            self._stacks.put((image.image_id, 0), stack)
        return self.get(image.image_id).image

    def content_hash(self, path: Path) -> str:
        """The hash of a file or folder; computed again only if sizes or times have changed."""
        fingerprint = safe_paths.fingerprint(path)
        row = self._database.row("SELECT * FROM hashes WHERE path = ?", str(path))
        if row is not None and row["mark"] == fingerprint:
            return str(row["sha256"])
        sha256 = safe_paths.content_hash(path)
        entry = {"path": str(path), "mark": fingerprint, "sha256": sha256}
        self._database.insert("hashes", entry, otherwise="OR REPLACE")
        return sha256

    # --- pixels ----------------------------------------------------------------------------------

    def stack(self, image_id: str, axis: int = 0) -> Stack:
        """The stack of an image along an axis.

        Raises:
            NotFound: no such image, or its file is gone.
            Refused: its file does not lie below a root of this server.
            ReadError: its file was changed, or cannot be read.
            TooLarge: cutting it along another axis would need too much memory.
        """
        stored = self.get(image_id)
        with self._lock:
            stack = self._stacks.get((image_id, axis))
            if stack is None:
                whole = self._stacks.get((image_id, 0)) or self._read(stored)
                self._stacks.put((image_id, 0), whole)
                if axis and stack_bytes(whole) > self._settings.ram_bytes:
                    raise TooLarge(
                        "this volume is too large for the server's memory to be shown along "
                        "another axis"
                    )
                stack = whole.along(axis)
            self._stacks.put((image_id, axis), stack)
            return stack

    def renderer(self, image_id: str, axis: int = 0, window: DisplayWindow = None) -> Renderer:
        """The frames of an image as annotators and networks see them."""
        key = (image_id, axis, json.dumps(window, sort_keys=True))
        stack = self.stack(image_id, axis)
        with self._lock:
            renderer = self._renderers.get(key)
            if renderer is None or renderer.stack is not stack:
                renderer = Renderer(stack, window)
            self._renderers.put(key, renderer)
            return renderer

    def encode_frame(
        self,
        image_id: str,
        frame: int,
        axis: int,
        window: DisplayWindow,
        file_format: str,
    ) -> bytes:
        """A rendered frame as PNG, JPEG or WebP."""
        frames = self.renderer(image_id, axis, window)
        return encode_image(frames[check_frame(frame, len(frames))], file_format)

    def encode_thumbnail(self, image_id: str, size: int) -> bytes:
        """A small PNG of the middle frame."""
        frames = self.renderer(image_id)
        return encode_thumbnail(frames[len(frames) // 2], size)

    def volume(self, image_id: str, step: int) -> Pixels:
        """Stored numbers of the whole stack, every `step`-th along each axis.

        Raises:
            TooLarge: more than the server sends in one response.
        """
        stack = self.stack(image_id)
        shape = [-(-length // step) for length in stack.shape_zyx] + list(stack.source.shape[3:])
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(stack.source.dtype).itemsize
        limit = self._settings.limits.volume_bytes
        if size > limit:
            raise TooLarge(
                f"this volume has {size} bytes; at most {limit} are sent in one response. Request "
                "it with a larger `step`, or frame by frame."
            )
        return np.stack([stack[index][::step, ::step] for index in range(0, len(stack), step)])

    def prefetch(self, image_id: str) -> None:
        """Open an image in the background, because it is likely to be needed soon."""

        def work() -> None:
            try:
                frames = self.renderer(image_id)
                _ = frames[len(frames) // 2]
            except Exception as error:
                log.debug("prefetching an image failed: %s", type(error).__name__)

        self._background.start(work)

    def list_folder(self, root: int, relative: str) -> list[FolderEntry]:
        """Images and folders in a folder below a root."""
        folder = safe_paths.resolve_below(self._settings.roots, root, relative or ".")
        base = self._settings.roots[root].resolve()
        if not folder.is_dir():
            raise UsageError("this path is not a folder")
        entries = []
        for path in list_visible(folder):
            if not lies_within(path, base):
                continue
            kind = _entry_kind(path)
            if kind is not None:
                relative_path = path.relative_to(base).as_posix()
                entries.append(FolderEntry(path.name, relative_path, kind))
        return entries

    def _read(self, stored: StoredImage) -> Stack:
        options = stored.choice.options()
        path = stored.path
        if not path.exists():
            raise NotFound(
                "the file of this image no longer exists; restore it, or open the image again "
                "from its new place"
            )
        if stored.image.origin == "upload":
            return read_sandboxed(path, options, self._settings.limits)
        if not any(path.is_relative_to(root.resolve()) for root in self._settings.roots):
            raise Refused(
                "the file of this image lies outside of the folders that this server may read; "
                "restart it with --root for its folder"
            )
        if image_id_of(self.content_hash(path), options) != stored.image.image_id:
            raise ReadError(
                "the file of this image was changed after the image was added; open it again as "
                "a new image"
            )
        return read(path, **options)


def is_image(path: Path) -> bool:
    """Whether a path looks like an image that can be read."""
    try:
        return any(entry.recognises(path) for entry in FORMATS)
    except (OSError, SegscopeError):
        return False


def check_frame(frame: int, frames: int) -> int:
    """The frame number, if the stack has that frame.

    Raises:
        UsageError: it does not.
    """
    if not 0 <= frame < frames:
        raise UsageError(f"there is no frame {frame}; this stack has frames 0 to {frames - 1}")
    return frame


def _entry_kind(path: Path) -> Literal["folder", "image"] | None:
    """What an entry of a folder is to clients; None for other files."""
    if path.is_dir():
        # a folder of single images is listed as a folder; opened as an image it is a video
        if is_image(path) and not FrameFolder().recognises(path):
            return "image"
        return "folder"
    if is_image(path):
        return "image"
    return None
