"""Export annotated cases as a data set that `segscope adapt` and `segscope evaluate` read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from segscope.errors import Cancelled, UsageError
from segscope.files import atomic
from segscope.io import write
from segscope.masks import Masks
from segscope.stack import Stack

if TYPE_CHECKING:
    from segscope.serve.project.images import Images
    from segscope.serve.project.worklist import WorklistCase
    from segscope.serve.sessions.registry import SessionRegistry

VALIDATION_EVERY = 5  # every fifth case is for validation
_LABEL_CHARACTERS = 60  # of a label in a file name


class TargetEntry(TypedDict):
    """One label of an item in `dataset.json`."""

    path: str
    label: str
    kind: str


class ItemEntry(TypedDict):
    """One image in `dataset.json`, with the masks drawn on it."""

    id: str
    group: str
    image: str
    targets: list[TargetEntry]
    split: str


class ExportedDataset(TypedDict):
    """The name of the exported folder, its number of items, and how many are for validation."""

    folder: str
    items: int
    val: int


@dataclass(frozen=True)
class DatasetExport:
    """An export of annotated cases.

    Attributes:
        cases: cases to export; of each, the latest session with masks.
        sessions, images: those of the project.
        target: the folder to write; an existing one is replaced when the export succeeds.
        name: name of the data set.
    """

    cases: Sequence[WorklistCase]
    sessions: SessionRegistry
    images: Images
    target: Path
    name: str

    def run(
        self, progress: Callable[[int, int], None], cancelled: Callable[[], bool]
    ) -> ExportedDataset:
        """Write the masks and a `dataset.json` that refers to the images in place.

        Args:
            progress: called with (cases done, cases in total).
            cancelled: checked before each case; if it returns True, `target` remains unchanged.

        Raises:
            Cancelled: the export was stopped.
            UsageError: none of the cases has masks.
        """
        items: list[ItemEntry] = []
        with atomic(self.target, folder=True) as folder:
            (folder / "masks").mkdir()
            for number, case in enumerate(self.cases, start=1):
                if cancelled():
                    raise Cancelled("export cancelled; an earlier data set is unchanged")
                item = self._export_case(case, folder)
                if item is not None:
                    items.append(item)
                progress(number, len(self.cases))
            if not items:
                raise UsageError(
                    "none of these cases has masks; annotate and finish some cases first"
                )
            _assign_splits(items)
            self._write_description(items, folder)
        validation = sum(item["split"] == "val" for item in items)
        return {"folder": self.target.name, "items": len(items), "val": validation}

    def _write_description(self, items: Sequence[ItemEntry], folder: Path) -> None:
        description = {
            "name": self.name,
            "target_kind": "instance",
            "labels": _label_kinds(items),
            "items": items,
        }
        (folder / "dataset.json").write_text(json.dumps(description, indent=1), encoding="utf-8")

    def _export_case(self, case: WorklistCase, folder: Path) -> ItemEntry | None:
        """The item of a case with its mask files written, or None if there is nothing to export."""
        image = self.images.get(case.image_id)
        if image.choice.options():
            return None  # a data set cannot name a series or time point within a file
        for session_info in self.sessions.list_sessions(image_id=case.image_id):
            with self.sessions.use(session_info.session_id) as session:
                masks = session.masks()
                stack = session.work.stack
            if not masks.runs:
                continue
            targets = [
                _write_target(folder, case.image_id, label, label_masks, stack)
                for label, label_masks in _split_by_label(masks)
            ]
            return {
                "id": case.image_id,
                "group": case.image_id,
                "image": str(image.path),
                "targets": targets,
                "split": "train",
            }
        return None


def _assign_splits(items: list[ItemEntry]) -> None:
    for item in items[VALIDATION_EVERY - 1 :: VALIDATION_EVERY]:
        item["split"] = "val"


def _label_kinds(items: Sequence[ItemEntry]) -> dict[str, str]:
    return {target["label"]: target["kind"] for item in items for target in item["targets"]}


def _split_by_label(masks: Masks) -> Iterator[tuple[str, Masks]]:
    """Masks of one label at a time; objects without a name are called "object"."""
    for label in sorted(set(masks.names.values())):
        ids = [object_id for object_id, name in masks.names.items() if name == label]
        runs = {key: value for key, value in masks.runs.items() if key[1] in ids}
        if runs:
            yield label or "object", replace(masks, runs=runs, names=dict.fromkeys(ids, label))


def _write_target(
    folder: Path,
    image_id: str,
    label: str,
    masks: Masks,
    stack: Stack,
) -> TargetEntry:
    safe_label = re.sub(r"\W", "_", label)[:_LABEL_CHARACTERS]
    suffix = {"image": ".png", "volume": ".nii.gz", "video": ""}[stack.kind]
    number = len(list((folder / "masks").glob(f"{image_id}_*")))
    path = folder / "masks" / f"{image_id}_{number}_{safe_label}{suffix}"
    destination: Path | str = path
    if not suffix:
        destination = f"{path}/"  # a folder with one PNG per frame
    write(masks, destination, stack)
    return {"path": f"masks/{path.name}", "label": label, "kind": "instance"}
