"""Labels that MONAI Label's clients store: files by image and tag, below the project."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TypedDict

from segscope.errors import UsageError
from segscope.files import atomic
from segscope.serve.errors import Busy, NotFound
from segscope.serve.json_object import JsonObject
from segscope.serve.project.image_records import StoredImage
from segscope.serve.project.safe_paths import discard, safe_name
from segscope.serve.project.workspace import Workspace

_TAG = re.compile(r"^[\w][\w .-]{0,80}$")
FINAL = "final"


class FileEntry(TypedDict):
    """A file of the data store: its ending, and notes on it."""

    ext: str
    info: JsonObject


class ObjectEntry(TypedDict):
    """An image of the data store, with its labels by tag."""

    image: FileEntry
    labels: dict[str, FileEntry]


class DatastoreListing(TypedDict):
    """The data store as the protocol lists it."""

    name: str
    description: str
    objects: dict[str, ObjectEntry]


class DatastoreStats(TypedDict):
    """Number of images and labels in the data store."""

    total: int
    completed: int
    label_tags: dict[str, int]
    label_names: dict[str, int]


class LabelFiles:
    """The label files of a project."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._folder = workspace.settings.project / "labels"

    def save(
        self,
        image_id: str,
        tag: str,
        name: str,
        data: bytes,
        info: JsonObject,
    ) -> None:
        """Store a label file; an earlier one of the same tag is replaced."""
        folder = self._place(image_id, tag)
        folder.mkdir(parents=True, exist_ok=True)
        suffix = "".join(Path(safe_name(name)).suffixes[-2:]) or ".bin"
        target = folder / f"label{suffix}"
        with atomic(target) as part:
            part.write_bytes(data)
        _write_info(folder / "info.json", info)
        for other in set(folder.glob("label*")) - {target}:
            discard(other)

    def get(self, image_id: str, tag: str) -> Path:
        """The label file of an image and tag.

        Raises:
            NotFound: there is none.
        """
        files = sorted(self._place(image_id, tag).glob("label*"))
        if not files:
            raise NotFound("no label of that image and tag")
        return files[0]

    def info(self, image_id: str, tag: str) -> JsonObject:
        """The notes on a label."""
        self.get(image_id, tag)
        path = self._place(image_id, tag) / "info.json"
        if not path.is_file():
            return {}
        info: JsonObject = json.loads(path.read_text())
        return info

    def update_info(self, image_id: str, tag: str, changes: JsonObject) -> JsonObject:
        """Add to the notes on a label; all notes on it."""
        info = self.info(image_id, tag) | changes
        _write_info(self._place(image_id, tag) / "info.json", info)
        return info

    def remove(self, image_id: str, tag: str) -> None:
        """Delete a label."""
        self.get(image_id, tag)
        discard(self._place(image_id, tag))

    def tags(self, image_id: str) -> list[str]:
        """Tags of the labels of an image."""
        folder = self._folder / safe_name(image_id)
        if folder.is_dir():
            return sorted(entry.name for entry in folder.iterdir())
        return []

    def list_all(self) -> DatastoreListing:
        """All images with their labels."""
        objects = {
            stored.image.image_id: self._entry(stored)
            for stored in self._workspace.images.list_stored()
        }
        return {
            "name": self._workspace.name,
            "description": "segscope project",
            "objects": objects,
        }

    def _entry(self, stored: StoredImage) -> ObjectEntry:
        image_id = stored.image.image_id
        labels: dict[str, FileEntry] = {}
        for tag in self.tags(image_id):
            suffix = "".join(self.get(image_id, tag).suffixes)
            labels[tag] = {"ext": suffix, "info": self.info(image_id, tag)}
        image: FileEntry = {"ext": _suffix_of(stored), "info": {"name": stored.image.name}}
        return {"image": image, "labels": labels}

    def count(self) -> DatastoreStats:
        """Number of images, and of labels of each tag."""
        images = self._workspace.images.list_stored()
        tags = Counter(chain.from_iterable(self.tags(stored.image.image_id) for stored in images))
        return {
            "total": len(images),
            "completed": tags[FINAL],
            "label_tags": dict(tags),
            "label_names": {},
        }

    def list_unlabelled(self) -> list[StoredImage]:
        """Images without a final label, in order."""
        return [
            stored
            for stored in self._workspace.images.list_stored()
            if FINAL not in self.tags(stored.image.image_id)
        ]

    def archive(self, max_bytes: int) -> bytes:
        """A zip of all labels, and of the images that are single files.

        Raises:
            Busy: it is larger than the server sends in one response.
        """
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as zip_file:
            for stored in self._workspace.images.list_stored():
                for path, name in self._archive_members(stored):
                    if path.is_file():
                        zip_file.write(path, name)
                if file.tell() > max_bytes:
                    raise Busy(
                        "this project is too large to be sent in one response; copy its folder"
                    )
        return file.getvalue()

    def _archive_members(self, stored: StoredImage) -> Iterator[tuple[Path, str]]:
        image_id = stored.image.image_id
        yield stored.path, f"{image_id}{_suffix_of(stored)}"
        for tag in self.tags(image_id):
            path = self.get(image_id, tag)
            yield path, f"labels/{tag}/{image_id}{''.join(path.suffixes)}"

    def _place(self, image_id: str, tag: str) -> Path:
        if not _TAG.match(tag):
            raise UsageError(
                "a tag must start with a letter or digit, followed by letters, digits, spaces, "
                "dots and dashes"
            )
        return self._folder / safe_name(image_id) / tag


def _write_info(path: Path, info: JsonObject) -> None:
    with atomic(path) as part:
        part.write_text(json.dumps(info))


def _suffix_of(stored: StoredImage) -> str:
    return "".join(Path(stored.image.name).suffixes)
