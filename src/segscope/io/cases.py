"""Lists of (scan, truth): our dataset.json, nnU-Net folders, MONAI datalists, folders of pairs matched by stem."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from segscope.errors import ReadError, UsageError
from segscope.io import FORMATS, MASK_FORMATS, read_masks
from segscope.io.base import suffix_of
from segscope.io.streams import reading
from segscope.masks import Masks, encode_runs
from segscope.stack import Stack

Split = Literal["train", "val", "test"]
TargetKind = Literal["binary", "semantic", "instance"]
IMAGE_FOLDERS = ("images", "imgs", "image", "img", "imagesTr")
MASK_FOLDERS = ("masks", "labels", "gts", "annotations", "segmentations", "mask", "label", "gt", "labelsTr")
MASK_ENDINGS = ("", "_mask", "_masks", "_label", "_labels", "_seg", "_segmentation", "_gt")
_SPLITS: dict[str, Split] = {
    "training": "train", "train": "train", "validation": "val", "val": "val", "testing": "test", "test": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """One truth of a case. `kind`: binary = positive is inside; semantic = the value is the class, named in `names`;
    instance = every positive value is one object."""

    path: Path
    label: str = ""
    kind: TargetKind = "semantic"
    names: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One scan with its truths.

    Attributes:
        id: unique within the list.
        image: file or folder that `segscope.io.read` opens.
        targets: truths on the grid of the image; empty when there are none.
        split: "train", "val" or "test".
        group: patient, volume or field; a group stays on one side of any split.
        modality: as the list says it, or None.
        channels: further files of the same scan on the same grid (nnU-Net's _0001, _0002 ...).
    """

    id: str
    image: Path
    targets: tuple[Target, ...] = ()
    split: Split = "train"
    group: str = ""
    modality: str | None = None
    channels: tuple[Path, ...] = ()


def cases(path: str | Path) -> list[Case]:
    """The cases of a data set.

    Args:
        path: a folder with `dataset.json` (ours or nnU-Net's), a JSON datalist, a folder with images and masks in two
            folders of it, or a folder of `.npz` cases with `imgs` and `gts`.

    Raises:
        UsageError: nothing there, or none of these layouts.
        ReadError: a list that is damaged, or names files that are not there.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise UsageError(f"{path} does not exist; name the folder of a data set or its list")
    listing = path if path.is_file() else path / "dataset.json"
    if listing.is_file():
        with reading(listing, "a list of cases"):
            found = _listed(listing)
    else:
        found = list(_pairs(path))
    return _checked(path, found)


def read_target(target: Target, like: Stack) -> Masks:
    """Truth on the grid of its scan; a binary one is a single object 1 with the label as its name."""
    masks = read_masks(target.path, like)
    if target.kind == "binary":
        runs = {}
        for frame in sorted({frame for frame, _ in masks.runs}):
            runs[frame, 1] = encode_runs(
                np.logical_or.reduce([masks.mask(frame, other) for at, other in masks.runs if at == frame])
            )
        return replace(masks, runs=runs, names={1: target.label})
    default = target.label if target.kind == "instance" else ""
    names = {key: target.names.get(key) or name or default for key, name in masks.names.items()}
    return replace(masks, names=names)


def _listed(listing: Path) -> list[Case]:
    document = _json(listing)
    if "items" in document:
        return [_own(listing.parent, document, item) for item in document["items"]]
    if "labels" in document and (listing.parent / "imagesTr").is_dir():
        return list(_nnunet(listing.parent, document))
    return list(_datalist(listing, document))


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ReadError(f"{path} cannot be read as a list of cases: {error}") from error
    if not isinstance(document, dict):
        raise ReadError(f"{path} is a list; wanted an object with items, training or labels")
    return document


def _checked(path: Path, found: list[Case]) -> list[Case]:
    if not found:
        raise UsageError(
            f"{path} holds no cases; wanted dataset.json, an nnU-Net folder, a JSON datalist, .npz cases, or folders "
            f"{', '.join(IMAGE_FOLDERS[:2])} and {', '.join(MASK_FOLDERS[:3])} with equal names"
        )
    seen: set[str] = set()
    for case in found:
        if case.id in seen:
            raise ReadError(f"{path} lists the case {case.id!r} twice; give each its own id")
        seen.add(case.id)
        for file in (case.image, *case.channels, *(target.path for target in case.targets)):
            if not file.exists():
                raise ReadError(f"{path} lists {file} in the case {case.id!r}, and it is not there")
    return found


def _names(labels: object) -> dict[int, str]:
    """Names by class number from {"1": "liver"} or {"liver": 1}; background and other remarks are left out."""
    names: dict[int, str] = {}
    for key, value in labels.items() if isinstance(labels, Mapping) else ():
        if str(key).isdecimal() and isinstance(value, str):
            names[int(key)] = value
        elif isinstance(value, int) or (isinstance(value, str) and value.isdecimal()):
            names[int(value)] = str(key)
    return {number: name for number, name in names.items() if number > 0}


def _own(folder: Path, document: Mapping[str, Any], item: Mapping[str, Any]) -> Case:
    try:
        names = _names(document.get("labels"))
        targets = tuple(
            Target(folder / entry["path"], str(entry.get("label", "")), _kind(entry.get("kind", "binary")), names)
            for entry in item.get("targets", [])
        )
        identity, split = str(item["id"]), _SPLITS[item.get("split", "train")]
        modality = item.get("item_modality") or document.get("modality")
        return Case(identity, folder / item["image"], targets, split, str(item.get("group") or identity), modality)
    except (KeyError, TypeError, AttributeError) as error:
        raise ReadError(f"an item of {folder / 'dataset.json'} is malformed ({error!r}): {str(item)[:200]}") from error


def _kind(text: str) -> TargetKind:
    for kind in ("binary", "semantic", "instance"):
        if text == kind:
            return kind
    raise KeyError(f"kind {text!r} is not binary, semantic or instance")


def _stem(path: Path) -> str:
    """Name without its format suffix (.nii.gz at once)."""
    known = (*(end for entry in FORMATS for end in entry.suffixes), *(end for e in MASK_FORMATS for end in e.suffixes))
    suffix = suffix_of(path, known)
    return path.name[: -len(suffix)] if suffix else path.stem


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []


def _nnunet(folder: Path, document: Mapping[str, Any]) -> Iterator[Case]:
    names = _names(document.get("labels"))
    channels = document.get("channel_names") or document.get("modality") or {}
    modality = next(iter(channels.values()), None) if isinstance(channels, Mapping) else str(channels)
    splits: tuple[tuple[str, Split], ...] = (("Tr", "train"), ("Val", "val"), ("Ts", "test"))
    for end, split in splits:
        truths = {_stem(path): path for path in _files(folder / f"labels{end}")}
        scans: dict[str, list[Path]] = {}
        for path in _files(folder / f"images{end}"):
            stem = _stem(path)
            numbered = len(stem) > 5 and stem[-5] == "_" and stem[-4:].isdecimal()
            scans.setdefault(stem[:-5] if numbered else stem, []).append(path)
        for stem, files in scans.items():
            targets = (Target(truths[stem], "", "semantic", names),) if stem in truths else ()
            yield Case(stem, files[0], targets, split, stem, modality, tuple(files[1:]))


def _datalist(listing: Path, document: Mapping[str, Any]) -> Iterator[Case]:
    names = _names(document.get("labels"))
    for key, entries in document.items():
        split = _SPLITS.get(key.lower())
        for entry in entries if split and isinstance(entries, list) else ():
            entry = {"image": entry} if isinstance(entry, str) else entry
            try:
                images = entry["image"] if isinstance(entry["image"], list) else [entry["image"]]
                label = entry.get("label")
                files = [listing.parent / image for image in images]
            except (KeyError, TypeError, AttributeError) as error:
                raise ReadError(f"an entry of {listing} is malformed ({error!r}): {str(entry)[:200]}") from error
            targets = (Target(listing.parent / label, "", "semantic", names),) if isinstance(label, str) else ()
            identity = str(entry.get("id") or Path(str(images[0])).parent / _stem(files[0]))
            yield Case(identity, files[0], targets, split or "train", identity, None, tuple(files[1:]))


def _pairs(folder: Path) -> Iterator[Case]:
    images = next((folder / name for name in IMAGE_FOLDERS if (folder / name).is_dir()), None)
    masks = next((folder / name for name in MASK_FOLDERS if (folder / name).is_dir()), None)
    if images is None or masks is None:
        for path in _files(folder):
            if path.suffix.lower() == ".npz":
                yield Case(path.stem, path, (Target(path, "", "instance"),), "train", path.stem)
        return
    truths = {_stem(path): path for path in _files(masks)}
    for path in _files(images):
        stem = _stem(path)
        found = [truths[stem + ending] for ending in MASK_ENDINGS if stem + ending in truths]
        if len(found) != 1:
            raise ReadError(
                f"{path} has {len(found)} masks in {masks}; wanted one with the same name ({stem}, or {stem}_mask ...)"
            )
        yield Case(stem, path, (Target(found[0], "", "semantic"),), "train", stem)
