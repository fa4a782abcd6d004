"""Labels that MONAI Label's clients store: files by image and tag, below the project."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TypedDict

from segscope.errors import UsageError
from segscope.files import atomic
from segscope.serve.errors import NotFound
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
        self._trash = workspace.settings.project / "trash" / "labels"
        self._lock = threading.Lock()

    def save(
        self,
        image_id: str,
        tag: str,
        file: Path,
        info: JsonObject,
    ) -> None:
        """Store a label file; an earlier one of the same tag is moved to the trash.

        Args:
            file: the label; its name tells the format.
        """
        folder = self._place(image_id, tag)
        target = folder / f"label{_suffix_of(file.name)}"
        with self._lock:
            folder.mkdir(parents=True, exist_ok=True)
            self._copy_to_trash(folder)
            with atomic(target) as part:
                shutil.copyfile(file, part)
            _write_info(folder / "info.json", info)
            for other in set(folder.glob("label*")) - {target}:
                discard(other)

    def check_place(self, image_id: str, tag: str) -> None:
        """Refuse a tag that cannot name a folder.

        Raises:
            UsageError: it has other characters than a tag may have.
        """
        self._place(image_id, tag)

    def _copy_to_trash(self, folder: Path) -> None:
        """Keep the present label of a tag; each one has a folder named by the time."""
        if not any(folder.glob("label*")):
            return
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        aside = self._trash / folder.parent.name / folder.name / moment
        aside.parent.mkdir(parents=True, exist_ok=True)
        with atomic(aside, folder=True) as part:
            shutil.copytree(folder, part, dirs_exist_ok=True)

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
        """Move a label to the trash."""
        folder = self._place(image_id, tag)
        with self._lock:
            self.get(image_id, tag)
            self._copy_to_trash(folder)
            discard(folder)

    def tags(self, image_id: str) -> list[str]:
        """Tags of the labels of an image."""
        return sorted({path.parent.name for path in self._folder.glob(f"{image_id}/*/label*")})

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
        image: FileEntry = {
            "ext": _suffix_of(stored.image.name),
            "info": {"name": stored.image.name},
        }
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

    def list_files(self) -> Iterator[tuple[Path, str]]:
        """The files of the data store and their names in an archive of it."""
        for stored in self._workspace.images.list_stored():
            yield from self._archive_members(stored)

    def _archive_members(self, stored: StoredImage) -> Iterator[tuple[Path, str]]:
        image_id = stored.image.image_id
        if stored.path.is_file():
            yield stored.path, f"{image_id}{_suffix_of(stored.image.name)}"
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


def _suffix_of(name: str) -> str:
    """The endings of a file name, such as .nii.gz."""
    return "".join(Path(safe_name(name)).suffixes[-2:])
