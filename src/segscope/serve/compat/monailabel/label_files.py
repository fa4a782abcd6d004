"""Labels that MONAI Label's clients store: files by image and tag, below the project."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segscope.errors import UsageError
from segscope.files import atomic
from segscope.serve.errors import Busy, NotFound
from segscope.serve.project.database import Row
from segscope.serve.project.safe_paths import discard, safe_name
from segscope.serve.project.workspace import Workspace

_TAG = re.compile(r"^[\w][\w .-]{0,80}$")
FINAL = "final"


class Labels:
    """The label files of a project."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._folder = workspace.settings.project / "labels"

    def save(self, image: Row, tag: str, name: str, data: bytes, info: Mapping[str, Any]) -> str:
        """Keep a label file; what was there under the tag goes."""
        folder = self._place(image["id"], tag)
        folder.mkdir(parents=True, exist_ok=True)
        ending = "".join(Path(safe_name(name)).suffixes[-2:]) or ".bin"
        target = folder / f"label{ending}"
        with atomic(target) as part:
            part.write_bytes(data)
        with atomic(folder / "info.json") as part:
            part.write_text(json.dumps(dict(info)))
        for other in folder.glob("label*"):
            if other != target:
                discard(other)
        return str(image["id"])

    def file(self, image_id: str, tag: str) -> Path:
        """A label file.

        Raises:
            NotFound: none there.
        """
        found = sorted(self._place(image_id, tag).glob("label*"))
        if not found:
            raise NotFound("no label of that image and tag")
        return found[0]

    def info(
        self, image_id: str, tag: str, change: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """What is noted of a label; `change` is added to it."""
        self.file(image_id, tag)
        path = self._place(image_id, tag) / "info.json"
        said: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        if change is not None:
            said |= change
            with atomic(path) as part:
                part.write_text(json.dumps(said))
        return said

    def remove(self, image_id: str, tag: str) -> None:
        """Forget a label."""
        self.file(image_id, tag)
        discard(self._place(image_id, tag))

    def tags(self, image_id: str) -> list[str]:
        """Tags of the labels of an image."""
        folder = self._folder / safe_name(image_id)
        if folder.is_dir():
            return sorted(entry.name for entry in folder.iterdir())
        return []

    def listing(self, info: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """All images with their labels, as the protocol lists them."""
        objects = {}
        for row in self.workspace.store.rows("SELECT * FROM images ORDER BY created"):
            labels = {
                tag: {
                    "ext": "".join(self.file(row["id"], tag).suffixes),
                    "info": self.info(row["id"], tag),
                }
                for tag in self.tags(row["id"])
            }
            image = {
                "ext": "".join(Path(row["name"]).suffixes),
                "info": {"name": row["name"], **info.get(row["id"], {})},
            }
            objects[row["id"]] = {"image": image, "labels": labels}
        project = self.workspace.project()
        return {"name": project["name"], "description": "segscope project", "objects": objects}

    def counts(self) -> dict[str, Any]:
        """How many images there are, and how many are labelled."""
        rows = self.workspace.store.rows("SELECT id FROM images")
        tags: dict[str, int] = {}
        completed = 0
        for row in rows:
            found = self.tags(row["id"])
            completed += FINAL in found
            for tag in found:
                tags[tag] = tags.get(tag, 0) + 1
        return {"total": len(rows), "completed": completed, "label_tags": tags, "label_names": {}}

    def unlabelled(self) -> list[Row]:
        """Images without a final label, in order."""
        rows = self.workspace.store.rows("SELECT * FROM images ORDER BY created")
        return [row for row in rows if FINAL not in self.tags(row["id"])]

    def archive(self, most_bytes: int) -> bytes:
        """Images that are files, and all labels, as a zip.

        Raises:
            Busy: more than is sent in one piece.
        """
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as packed:
            for row in self.workspace.store.rows("SELECT * FROM images ORDER BY created"):
                members = [(Path(row["path"]), f"{row['id']}{''.join(Path(row['name']).suffixes)}")]
                for tag in self.tags(row["id"]):
                    path = self.file(row["id"], tag)
                    members.append((path, f"labels/{tag}/{row['id']}{''.join(path.suffixes)}"))
                for path, name in members:
                    if path.is_file():
                        packed.write(path, name)
                if file.tell() > most_bytes:
                    raise Busy("this project is too large to be sent in one piece; copy its folder")
        return file.getvalue()

    def _place(self, image_id: str, tag: str) -> Path:
        if not _TAG.match(tag):
            raise UsageError("a tag is a word of letters, digits, spaces, dots and dashes")
        return self._folder / safe_name(image_id) / tag
