"""Images of a project: named by the hash of their content, below the roots or uploaded, opened when
first needed.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import threading
import uuid
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError, SegscopeError, UsageError
from segscope.io import FORMATS, read
from segscope.io.video.frame_folder import FrameFolder
from segscope.render import Renderer
from segscope.serve.errors import NotFound, Refused, TooLarge
from segscope.serve.project import safe_paths
from segscope.serve.project.database import Row, Store, now
from segscope.serve.project.sandboxed_reader import foreign_stack
from segscope.serve.settings import Settings
from segscope.stack import Stack

OPEN = 6  # stacks and renderers that stay open besides those that sessions use
PICTURE_FORMATS = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


@dataclass(frozen=True)
class Choice:
    """What a path may leave open, see `segscope.read`."""

    series: str | None = None
    volume: int | None = None
    channel: int | None = None

    def options(self) -> dict[str, Any]:
        chosen = {"series": self.series, "volume": self.volume, "channel": self.channel}
        return {key: value for key, value in chosen.items() if value is not None}


class Images:
    """The images of one project."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._uploads = settings.project / "uploads"
        self._uploads.mkdir(exist_ok=True)
        for left in self._uploads.glob("incoming-*"):  # uploads that a stop of the server cut off
            safe_paths.discard(left)
        self._open: OrderedDict[tuple[str, int], Stack] = OrderedDict()
        self._renderers: OrderedDict[tuple[str, int, str], Renderer] = OrderedDict()
        self._lock = threading.RLock()

    # --- what there is ---------------------------------------------------------------------------

    def listed(self) -> list[dict[str, Any]]:
        """All images, oldest first."""
        return [
            _public(row) for row in self._store.rows("SELECT * FROM images ORDER BY created, id")
        ]

    def row(self, image_id: str) -> Row:
        """What the store knows of an image.

        Raises:
            NotFound: no such image.
        """
        row = self._store.row("SELECT * FROM images WHERE id = ?", image_id)
        if row is None:
            raise NotFound("no such image; `GET /v1/images` lists those of this project")
        return row

    def about(self, image_id: str) -> dict[str, Any]:
        """What clients are told of an image."""
        return _public(self.row(image_id))

    # --- new ones --------------------------------------------------------------------------------

    def refer(self, root: int, relative: str, choice: Choice = Choice()) -> dict[str, Any]:
        """The image at a path below a root."""
        path = safe_paths.below(self._settings.roots, root, relative)
        safe_paths.check_links(path, self._settings.roots[root])
        return self.add(path, choice)

    def add(self, path: Path, choice: Choice = Choice()) -> dict[str, Any]:
        """The image at a path that is known to be below a root.

        Raises:
            ReadError, UsageError: not an image, or a choice is missing.
        """
        path = path.resolve()
        stack = read(path, **choice.options())
        image_id = _identity(self._hash(path), choice.options())
        return self._keep(image_id, path.name, "root", path, choice.options(), stack)

    def upload(
        self,
        files: Sequence[tuple[str, Path]],
        choice: Choice = Choice(),
        *,
        name: str | None = None,
    ) -> dict[str, Any]:
        """The image of uploaded files; they are moved away from where they are.

        Raises:
            ReadError, UsageError: not an image; nothing of it is kept then.
        """
        if not files:
            raise UsageError("an upload has at least one file")
        incoming = self._uploads / f"incoming-{uuid.uuid4().hex}"
        incoming.mkdir()
        try:
            main = self._arrange(files, incoming)
            image_id = _identity(safe_paths.content_hash(main), choice.options())
            known = self._store.row("SELECT * FROM images WHERE id = ?", image_id)
            if known is not None:
                return _public(known)
            stack = foreign_stack(main, choice.options(), self._settings.limits)
            place = self._uploads / image_id
            safe_paths.discard(place)
            incoming.rename(place)
            main = place / main.relative_to(incoming)
            stack = foreign_stack(main, choice.options(), self._settings.limits)
            return self._keep(image_id, name or main.name, "upload", main, choice.options(), stack)
        finally:
            safe_paths.discard(incoming)

    def _arrange(self, files: Sequence[tuple[str, Path]], incoming: Path) -> Path:
        """Put uploaded files where they can be read; the file or folder to read."""
        names: set[str] = set()
        for name, path in files:
            name = safe_paths.safe_name(name)
            if name in names:
                raise UsageError("two of the uploaded files have one name")
            names.add(name)
            target = incoming / name
            shutil.move(path, target)
            if zipfile.is_zipfile(target) and target.suffix.lower() not in (".npz", ".docx"):
                safe_paths.unpack(target, incoming, self._settings.limits)
                target.unlink()
        here = incoming
        while True:
            entries = [
                entry for entry in here.iterdir() if not entry.name.startswith(("__MACOSX", "."))
            ]
            if len(entries) != 1:
                break
            here = entries[0]
            if here.is_file():
                break
        if here.is_dir() and not entries:
            raise ReadError("the upload holds no files")
        return here

    def _hash(self, path: Path) -> str:
        mark = safe_paths.mark_of(path)
        known = self._store.row("SELECT * FROM hashes WHERE path = ?", str(path))
        if known is not None and known["mark"] == mark:
            return str(known["sha256"])
        sha256 = safe_paths.content_hash(path)
        self._store.insert(
            "hashes", {"path": str(path), "mark": mark, "sha256": sha256}, otherwise="OR REPLACE"
        )
        return sha256

    def _keep(
        self,
        image_id: str,
        name: str,
        origin: str,
        path: Path,
        options: dict[str, Any],
        stack: Stack,
    ) -> dict[str, Any]:
        row = {
            "id": image_id,
            "name": name,
            "origin": origin,
            "path": str(path),
            "options": options,
            "meta": _meta(stack),
            "created": now(),
        }
        self._store.insert("images", row, otherwise="OR IGNORE")
        if not Path(self.row(image_id)["path"]).exists():  # the same content is found elsewhere now
            self._store.update(
                "images", image_id, {"path": str(path), "origin": origin, "name": name}
            )
        with self._lock:
            self._remember(self._open, (image_id, 0), stack)
        return self.about(image_id)

    # --- looking at them -------------------------------------------------------------------------

    def stack(self, image_id: str, axis: int = 0) -> Stack:
        """The stack of an image along an axis.

        Raises:
            NotFound: no such image, or its file is gone.
            Refused: its file is below no root of this server.
            ReadError: its file was changed, or cannot be read.
        """
        row = self.row(image_id)
        with self._lock:
            found = self._open.get((image_id, axis))
            if found is None:
                whole = self._open.get((image_id, 0)) or self._read(row)
                self._remember(self._open, (image_id, 0), whole)
                if axis and _bytes(whole) > self._settings.ram_bytes:
                    raise TooLarge(
                        "this volume is too large to be cut along another axis in the memory of the server"
                    )
                found = whole.along(axis)
            self._remember(self._open, (image_id, axis), found)
            return found

    def renderer(self, image_id: str, axis: int = 0, window: Any = None) -> Renderer:
        """The frames of an image as people and networks see them."""
        key = (image_id, axis, json.dumps(window, sort_keys=True))
        stack = self.stack(image_id, axis)
        with self._lock:
            found = self._renderers.get(key)
            if found is None or found.stack is not stack:
                found = Renderer(stack, window)
            self._remember(self._renderers, key, found)
            return found

    def frame_image(self, image_id: str, frame: int, axis: int, window: Any, kind: str) -> bytes:
        """A rendered frame as PNG, JPEG or WebP."""
        frames = self.renderer(image_id, axis, window)
        return encoded(frames[checked(frame, len(frames))], kind)

    def thumbnail(self, image_id: str, size: int) -> bytes:
        """A small PNG of the middle frame."""
        from PIL import Image

        frames = self.renderer(image_id)
        image = Image.fromarray(frames[len(frames) // 2])
        image.thumbnail((size, size))
        return encoded(np.asarray(image), "png")

    def volume(self, image_id: str, step: int) -> NDArray[Any]:
        """Stored numbers of the whole stack, every `step`-th along each axis.

        Raises:
            TooLarge: more than is sent in one piece.
        """
        stack = self.stack(image_id)
        shape = [-(-length // step) for length in stack.shape_zyx] + list(stack.source.shape[3:])
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(stack.source.dtype).itemsize
        if size > self._settings.limits.volume_bytes:
            raise TooLarge(
                f"{size} bytes; at most {self._settings.limits.volume_bytes} are sent in one piece. Ask with a larger "
                "`step`, or frame by frame."
            )
        return np.stack([stack[index][::step, ::step] for index in range(0, len(stack), step)])

    def files(self, root: int, relative: str) -> list[dict[str, Any]]:
        """What a folder below a root holds that can be opened."""
        folder = safe_paths.below(self._settings.roots, root, relative or ".")
        base = self._settings.roots[root].resolve()
        if not folder.is_dir():
            raise UsageError("not a folder")
        found = []
        for entry in sorted(folder.iterdir()):
            inside = entry.resolve().is_relative_to(base)
            if entry.name.startswith(".") or not inside:
                continue
            series = entry.is_dir() and not _is_images(entry) and is_image(entry)
            if entry.is_dir():
                found.append(
                    {**safe_paths.described(entry, base), "kind": "image" if series else "folder"}
                )
            elif is_image(entry):
                found.append({**safe_paths.described(entry, base), "kind": "image"})
        return found

    def _read(self, row: Row) -> Stack:
        path = Path(row["path"])
        if not path.exists():
            raise NotFound(
                "the file of this image is not where it was; put it back, or open it again from its new place"
            )
        if row["origin"] == "upload":
            return foreign_stack(path, row["options"], self._settings.limits)
        if not any(path.is_relative_to(root.resolve()) for root in self._settings.roots):
            raise Refused(
                "the file of this image is below no folder that this server was started with (--root)"
            )
        if _identity(self._hash(path), row["options"]) != row["id"]:
            raise ReadError(
                "the file of this image was changed since it was first opened; open it again as a new image"
            )
        return read(path, **row["options"])

    @staticmethod
    def _remember(kept: OrderedDict[Any, Any], key: Any, value: Any) -> None:
        kept[key] = value
        kept.move_to_end(key)
        while len(kept) > OPEN:
            kept.popitem(last=False)


def is_image(path: Path) -> bool:
    """Whether a path looks like something that can be opened."""
    try:
        return any(entry.recognises(path) for entry in FORMATS)
    except (OSError, SegscopeError):
        return False


def checked(frame: int, frames: int) -> int:
    """A frame number that exists.

    Raises:
        UsageError: it does not.
    """
    if not 0 <= frame < frames:
        raise UsageError(f"frame {frame} of a stack with frames 0 to {frames - 1}")
    return frame


def encoded(rgb: NDArray[np.uint8], kind: str) -> bytes:
    """A image (row, column, 3) as a file; grey ones with one channel."""
    from PIL import Image

    if kind not in PICTURE_FORMATS:
        raise UsageError(f"images are sent as {', '.join(PICTURE_FORMATS)}, got {kind!r}")
    grey = (
        rgb.ndim == 3
        and np.array_equal(rgb[..., 0], rgb[..., 1])
        and np.array_equal(rgb[..., 0], rgb[..., 2])
    )
    image = Image.fromarray(np.ascontiguousarray(rgb[..., 0]) if grey else rgb)
    file = io.BytesIO()
    options: dict[str, Any] = {
        "png": {"compress_level": 1},
        "jpeg": {"quality": 92},
        "webp": {"quality": 90, "method": 0},
    }
    image.save(file, kind.upper(), **options[kind])
    return file.getvalue()


def _is_images(folder: Path) -> bool:
    """A folder of images is a folder; it becomes a video when asked for as an image."""
    return FrameFolder().recognises(folder)


def _identity(content: str, options: dict[str, Any]) -> str:
    if options:
        content = hashlib.sha256(
            f"{content}\n{json.dumps(options, sort_keys=True)}".encode()
        ).hexdigest()
    return content[:32]


def _bytes(stack: Stack) -> int:
    return int(np.prod(stack.source.shape, dtype=np.int64)) * np.dtype(stack.source.dtype).itemsize


def _meta(stack: Stack) -> dict[str, Any]:
    window = Renderer(stack).record()
    return {
        "kind": stack.kind,
        "modality": stack.modality,
        "shape_zyx": list(stack.shape_zyx),
        "channels": stack.source.shape[3] if len(stack.source.shape) == 4 else 1,
        "dtype": str(np.dtype(stack.source.dtype).newbyteorder("=")),
        "spacing_zyx_mm": None
        if stack.spacing_zyx_mm is None
        else list(map(float, stack.spacing_zyx_mm)),
        "affine": None if stack.geometry is None else stack.geometry.affine.tolist(),
        "times_s": None if stack.times_s is None else stack.times_s.tolist(),
        "window": {"how": window["how"], "low": window["low"], "high": window["high"]},
        "bytes": _bytes(stack),
        "notes": list(stack.meta.get("notes", ())),
    }


def _public(row: Row) -> dict[str, Any]:
    return {"image_id": row["id"], "name": row["name"], "origin": row["origin"], **row["meta"]}
