"""Data sets: lists of scans with ground truth, in the layouts of `layouts.py` and `folders.py`."""

from __future__ import annotations

import itertools
from dataclasses import replace
from operator import itemgetter
from pathlib import Path

import numpy as np

from segscope.errors import ReadError, UsageError
from segscope.geometry import Geometry
from segscope.io import read, read_masks
from segscope.io.base import reading
from segscope.io.datasets.dataset import Case, Complain, DataSet, GroundTruth
from segscope.io.datasets.folders import IMAGE_FOLDERS, MASK_FOLDERS, list_entries, read_folders
from segscope.io.datasets.layouts import read_json_object, read_listing
from segscope.io.paths import describe_missing, find_path
from segscope.masks import Masks, Runs, encode_runs
from segscope.stack import Stack

MODALITIES = {"MRI": "MR", "PET": "PT", "ultrasound": "US", "X-ray": "XA"}
"""Short names, as `Stack.modality` has them, of words that begin a data set's description."""


def read_cases(path: str | Path) -> list[Case]:
    """The cases of a data set; see `read_dataset`."""
    return list(read_dataset(path).cases)


def read_datasets(path: str | Path) -> list[DataSet]:
    """The data sets of a folder that holds several (listed in index.json, or each with a
    dataset.json), or the only one.
    """
    return list(map(read_dataset, list_datasets(path)))


def list_datasets(path: str | Path) -> list[Path]:
    """Paths of the data sets that a folder holds; the path itself when it is one.

    Raises:
        UsageError: nothing there.
        ReadError: an index.json that names no data sets.
    """
    path = find_path(Path(path).expanduser())
    if not path.exists():
        raise UsageError(f"{path} does not exist; name the folder of a data set or its list")
    if path.is_file() or (path / "dataset.json").is_file():
        return [path]
    index = path / "index.json"
    if index.is_file():
        with reading(index, "an index of data sets"):
            return [path / str(entry["name"]) for entry in read_json_object(index)["datasets"]]
    inner = [entry for entry in list_entries(path) if (entry / "dataset.json").is_file()]
    return inner or [path]


def read_dataset(path: str | Path, complain: Complain | None = None) -> DataSet:
    """Read the list of a data set.

    Args:
        path: a folder with `dataset.json` (ours or nnU-Net's), a JSON datalist, a folder with
            images and masks in two folders of it (also below folders named by split), or a folder
            of `.npz` cases with `imgs` and `gts`.
        complain: is called for each fault of the list, instead of an exception at the first.

    Raises:
        UsageError: nothing there, none of these layouts, or a folder of several data sets.
        ReadError: a list that is damaged, or names files that are not there.
    """
    inner = list_datasets(path)
    path = find_path(Path(path).expanduser())
    if inner != [path]:
        names = ", ".join(member.name for member in inner[:8])
        raise UsageError(f"{path} holds {len(inner)} data sets ({names} ...); name one of them")
    complain = complain or _raise_fault
    listing = path
    if path.is_dir():
        listing = path / "dataset.json"
    if listing.is_file():
        with reading(listing, "a list of cases"):
            data = read_listing(listing, complain)
    else:
        data = read_folders(path, complain)
    if not data.cases:
        raise UsageError(
            f"{path} holds no cases; expected dataset.json, an nnU-Net folder, a JSON datalist, "
            f".npz cases, or folders {', '.join(IMAGE_FOLDERS[:2])} and "
            f"{', '.join(MASK_FOLDERS[:3])} with equal names"
        )
    data = replace(data, cases=tuple(replace(case, dataset=data.name) for case in data.cases))
    _check_list(path, data, complain)
    return data


def _raise_fault(_kind: str, _case: str, _file: Path, message: str) -> None:
    raise ReadError(message)


def _check_list(path: Path, data: DataSet, complain: Complain) -> None:
    """Complain about repeated ids and missing files."""
    ids: set[str] = set()
    for case in data.cases:
        if case.id in ids:
            message = f"{path} lists the case {case.id!r} twice; give each case a distinct id"
            complain("same-id", case.id, case.image, message)
        ids.add(case.id)
        for file in itertools.filterfalse(Path.exists, case.files):
            message = f"{path} lists the case {case.id!r}: {describe_missing(file)}"
            complain("missing", case.id, file, message)


# --- scans and their ground truth ----------------------------------------------------------------


def read_image(case: Case) -> Stack:
    """The scan of a case; with the list's scale and modality (which decides the window) where its
    file states none.
    """
    stack = read(case.image)
    if stack.geometry is None and case.spacing_zyx_mm is not None:
        stack = replace(stack, geometry=Geometry.from_spacing(case.spacing_zyx_mm))
    words = (case.modality or "").replace(",", " ").split()
    if stack.modality is None and words:
        stack = replace(stack, modality=MODALITIES.get(words[0], words[0]))
    return stack


def read_target(target: GroundTruth, like: Stack) -> Masks:
    """Ground truth on the grid of its scan; a binary target is one object 1, named by its label."""
    masks = read_masks(target.path, like)
    if target.kind == "binary":
        return replace(masks, runs=_join_objects(masks), names={1: target.label})
    default = ""
    if target.kind == "instance":
        default = target.label
    names = {key: target.names.get(key) or name or default for key, name in masks.names.items()}
    return replace(masks, names=names)


def _join_objects(masks: Masks) -> dict[tuple[int, int], Runs]:
    """All objects of each frame as object 1."""
    runs: dict[tuple[int, int], Runs] = {}
    for frame, keys in itertools.groupby(sorted(masks.runs), key=itemgetter(0)):
        parts = [masks.mask(*key) for key in keys]
        runs[frame, 1] = encode_runs(np.logical_or.reduce(parts))
    return runs
