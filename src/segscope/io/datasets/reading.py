"""Data sets: lists of (scan, truth), in the layouts of `layouts.py`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from segscope.errors import ReadError, UsageError
from segscope.geometry import Geometry
from segscope.io import read, read_masks
from segscope.io.byte_sources import reading
from segscope.io.datasets.dataset import Case, Complain, DataSet, Split, Target, TargetKind
from segscope.io.datasets.layouts import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    files_of,
    in_folders,
    json_object,
    listed,
)
from segscope.masks import Masks, encode_runs
from segscope.stack import Stack

MODALITIES = {"MRI": "MR", "PET": "PT", "ultrasound": "US", "X-ray": "XA"}
"""Short names, as `Stack.modality` has them, of words that begin a data set's description."""


def cases(path: str | Path) -> list[Case]:
    """The cases of a data set; see `dataset`."""
    return list(dataset(path).cases)


def datasets(path: str | Path) -> list[DataSet]:
    """The data sets of a folder that holds several (listed in index.json, or each with a
    dataset.json), or the one.
    """
    return [dataset(member) for member in members(path)]


def members(path: str | Path) -> list[Path]:
    """Paths of the data sets that a folder holds; the path itself when it is one.

    Raises:
        UsageError: nothing there.
        ReadError: an index.json that names no data sets.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise UsageError(f"{path} does not exist; name the folder of a data set or its list")
    if path.is_file() or (path / "dataset.json").is_file():
        return [path]
    index = path / "index.json"
    if index.is_file():
        with reading(index, "an index of data sets"):
            return [path / str(entry["name"]) for entry in json_object(index)["datasets"]]
    return [entry for entry in files_of(path) if (entry / "dataset.json").is_file()] or [path]


def dataset(path: str | Path, complain: Complain | None = None) -> DataSet:
    """A data set.

    Args:
        path: a folder with `dataset.json` (ours or nnU-Net's), a JSON datalist, a folder with
            images and masks in two folders of it (also below folders named by split), or a folder
            of `.npz` cases with `imgs` and `gts`.
        complain: gets what is wrong with the list, case by case, in the place of an exception at
            the first.

    Raises:
        UsageError: nothing there, none of these layouts, or a folder of several data sets.
        ReadError: a list that is damaged, or names files that are not there.
    """
    within = members(path)
    path = Path(path).expanduser()
    if within != [path]:
        names = ", ".join(member.name for member in within[:8])
        raise UsageError(f"{path} holds {len(within)} data sets ({names} ...); name one of them")
    complain = complain or _refuse
    if path.is_file():
        listing = path
    else:
        listing = path / "dataset.json"
    if listing.is_file():
        with reading(listing, "a list of cases"):
            found = listed(listing, complain)
    else:
        found = in_folders(path, complain)
    found = replace(found, cases=tuple(replace(case, dataset=found.name) for case in found.cases))
    if not found.cases:
        raise UsageError(
            f"{path} holds no cases; wanted dataset.json, an nnU-Net folder, a JSON datalist, .npz cases, or folders "
            f"{', '.join(IMAGE_FOLDERS[:2])} and {', '.join(MASK_FOLDERS[:3])} with equal names"
        )
    _check(path, found, complain)
    return found


def read_image(case: Case) -> Stack:
    """The scan of a case; where its file states no scale or no modality, which decides the window,
    with the list's.
    """
    stack = read(case.image)
    if stack.geometry is None and case.spacing_zyx_mm is not None:
        stack = replace(stack, geometry=Geometry.from_spacing(case.spacing_zyx_mm))
    words = (case.modality or "").replace(",", " ").split()
    if stack.modality is None and words:
        stack = replace(stack, modality=MODALITIES.get(words[0], words[0]))
    return stack


def read_target(target: Target, like: Stack) -> Masks:
    """Truth on the grid of its scan; a binary one is a single object 1 with the label as its name."""
    masks = read_masks(target.path, like)
    if target.kind == "binary":
        runs = {}
        for frame in sorted({frame for frame, _ in masks.runs}):
            runs[frame, 1] = encode_runs(
                np.logical_or.reduce(
                    [masks.mask(frame, other) for at, other in masks.runs if at == frame]
                )
            )
        return replace(masks, runs=runs, names={1: target.label})
    default = ""
    if target.kind == "instance":
        default = target.label
    names = {key: target.names.get(key) or name or default for key, name in masks.names.items()}
    return replace(masks, names=names)


def _refuse(_kind: str, _case: str, _file: Path, message: str) -> None:
    raise ReadError(message)


def _check(path: Path, found: DataSet, complain: Complain) -> None:
    seen: set[str] = set()
    for case in found.cases:
        if case.id in seen:
            message = f"{path} lists the case {case.id!r} twice; give each its own id"
            complain("same-id", case.id, case.image, message)
        seen.add(case.id)
        for file in case.files:
            if not file.exists():
                complain(
                    "missing",
                    case.id,
                    file,
                    f"{path} lists {file} in the case {case.id!r}, and it is not there",
                )


__all__ = [
    "Case",
    "DataSet",
    "Split",
    "Target",
    "TargetKind",
    "cases",
    "dataset",
    "datasets",
    "members",
    "read_image",
    "read_target",
]
