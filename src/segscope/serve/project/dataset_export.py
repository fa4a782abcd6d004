"""What was annotated as a data set that `segscope adapt` and `segscope evaluate` take."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segscope.errors import Cancelled, UsageError
from segscope.files import atomic
from segscope.io import write
from segscope.masks import Masks
from segscope.stack import Stack

if TYPE_CHECKING:
    from segscope.serve.project.workspace import Workspace

HELD_OUT = 5  # every fifth case is for validation


def collect(
    workspace: Workspace,
    states: tuple[str, ...],
    progress: Callable[[int, int], None],
    stop: Callable[[], bool],
) -> dict[str, Any]:
    """Write the folder `dataset` of the project anew: dataset.json and masks; images stay where
    they are.

    Args:
        workspace: the project.
        states: of the cases that are taken; of each its latest session.
        progress: called with (cases done, cases to do).
        stop: asked before each case; what was there stays then.

    Returns:
        name of the folder, number of items and of those held out.

    Raises:
        UsageError: no case of these states has masks.
    """
    cases = [case for case in workspace.cases.listed() if case["state"] in states]
    items: list[dict[str, Any]] = []
    target = workspace.settings.project / "dataset"
    with atomic(target, folder=True) as folder:
        (folder / "masks").mkdir()
        for number, case in enumerate(cases, start=1):
            if stop():
                raise Cancelled("stopped; the data set is as it was before")
            items += _item(workspace, folder, case)
            progress(number, len(cases))
        if not items:
            raise UsageError(
                f"no case is {' or '.join(states)} and has masks; finish some cases first"
            )
        for number, item in enumerate(items):
            item["split"] = "val" if number % HELD_OUT == HELD_OUT - 1 else "train"
        labels = {target["label"]: target["kind"] for item in items for target in item["targets"]}
        document = {
            "name": workspace.project()["name"],
            "target_kind": "instance",
            "labels": labels,
            "items": items,
        }
        (folder / "dataset.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    return {
        "folder": "dataset",
        "items": len(items),
        "val": sum(item["split"] == "val" for item in items),
    }


def _item(workspace: Workspace, folder: Path, case: dict[str, Any]) -> Iterator[dict[str, Any]]:
    sessions = workspace.sessions.list_sessions(image_id=case["image_id"])
    image = workspace.images.row(case["image_id"])
    for session in sessions:
        with workspace.sessions.use(session.session_id) as document:
            masks = document.masks()
            stack = document.work.stack
        if not masks.runs or image["options"]:
            continue  # nothing was drawn, or a choice (a series, a time point) that a list of files cannot make
        targets = [
            _target(folder, case["image_id"], name, part, stack) for name, part in _by_label(masks)
        ]
        yield {
            "id": case["image_id"],
            "group": case["image_id"],
            "image": image["path"],
            "targets": targets,
        }
        return


def _by_label(masks: Masks) -> Iterator[tuple[str, Masks]]:
    for name in sorted(set(masks.names.values())):
        ids = [number for number, said in masks.names.items() if said == name]
        runs = {key: found for key, found in masks.runs.items() if key[1] in ids}
        if runs:
            yield name or "object", replace(masks, runs=runs, names=dict.fromkeys(ids, name))


def _target(folder: Path, image_id: str, label: str, masks: Masks, stack: Stack) -> dict[str, Any]:
    safe = "".join(character if character.isalnum() else "_" for character in label)[:60]
    ending = {"image": ".png", "volume": ".nii.gz", "video": ""}[stack.kind]
    number = len(list((folder / "masks").glob(f"{image_id}_*")))
    path = folder / "masks" / f"{image_id}_{number}_{safe}{ending}"
    write(masks, path if ending else f"{path}/", stack)
    return {"path": f"masks/{path.name}", "label": label, "kind": "instance"}
