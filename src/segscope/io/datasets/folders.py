"""Data sets without a list: pairs of folders matched by file names, and folders of .npz cases."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from segscope.files import list_visible
from segscope.io import FORMATS, MASK_FORMATS, numpy_files
from segscope.io.base import suffix_of
from segscope.io.datasets.dataset import SPLITS, Case, Complain, DataSet, GroundTruth, Split
from segscope.io.paths import normalize_name

IMAGE_FOLDERS = ("images", "imgs", "image", "img", "imagesTr")
MASK_FOLDERS = (
    "masks", "labels", "gts", "annotations", "segmentations", "mask", "label", "gt", "labelsTr",
)  # fmt: skip
MASK_ENDINGS = ("", "_mask", "_masks", "_label", "_labels", "_seg", "_segmentation", "_gt")
IMAGE_SUFFIXES = tuple(chain.from_iterable(entry.suffixes for entry in FORMATS))
_MASK_SUFFIXES = tuple(chain.from_iterable(entry.suffixes for entry in MASK_FORMATS))
_SUFFIXES = (*IMAGE_SUFFIXES, *_MASK_SUFFIXES, ".dcm.gz")


_MASK_MEMBERS = {f"{name}.npy" for name in numpy_files.MASK_NAMES[:-1]}


@dataclass(frozen=True)
class FolderPair:
    """A folder of images and the folder of their masks.

    Attributes:
        images: the images.
        masks: the masks; None in a test split without them.
        split: of all cases inside.
        prefix: start of their ids.
    """

    images: Path
    masks: Path | None
    split: Split
    prefix: str


def read_folders(path: Path, complain: Complain) -> DataSet:
    """The data set of a folder without a list: pairs of folders, or `.npz` cases."""
    name = path.resolve().name
    pairs = tuple(_read_pairs(path, complain))
    if pairs:
        return DataSet(name, path, pairs, "pairs")
    return DataSet(name, path, tuple(_read_npz_cases(path)), "npz")


def stem_of(path: Path) -> str:
    """Name without its format suffix (.nii.gz at once), in composed form: names of images and masks
    are compared by it.
    """
    suffix = suffix_of(path, _SUFFIXES)
    stem = path.stem
    if suffix:
        stem = path.name[: -len(suffix)]
    return normalize_name(stem)


def list_entries(folder: Path, ending: str = "") -> list[Path]:
    """Entries of a folder, sorted and without hidden ones; empty where it does not exist."""
    if not folder.is_dir():
        return []
    return [entry for entry in list_visible(folder) if entry.name.endswith(ending)]


# --- pairs of folders ----------------------------------------------------------------------------


def _read_pairs(folder: Path, complain: Complain) -> Iterator[Case]:
    for pair in _find_pairs(folder):
        yield from _read_pair(pair, complain)


def _read_pair(pair: FolderPair, complain: Complain) -> Iterator[Case]:
    masks: dict[str, Path] = {}
    if pair.masks is not None:
        masks = {stem_of(file): file for file in list_entries(pair.masks)}
    for image in list_entries(pair.images):
        stem = stem_of(image)
        names = [stem + ending for ending in MASK_ENDINGS]
        matching = [masks[name] for name in names if name in masks]
        identity = pair.prefix + stem
        if pair.masks is not None and len(matching) != 1:
            message = (
                f"{image} has {len(matching)} masks in {pair.masks}; expected one with the "
                f"same name ({stem}, or {stem}_mask ...)"
            )
            complain("unpaired", identity, image, message)
        targets = tuple(map(GroundTruth, matching[:1]))
        yield Case(identity, image, targets, pair.split, identity)


def _find_pairs(folder: Path) -> Iterator[FolderPair]:
    """images/ beside masks/, train/images/ beside train/masks/, or images/train/ beside
    masks/train/. A test split may have no masks.
    """
    images, masks = _find_image_and_mask_folder(folder)
    if images and masks:
        inner = [
            FolderPair(place, masks / place.name, split, f"{place.name}/")
            for place, split in _split_folders(images)
            if (masks / place.name).is_dir()
        ]
        yield from inner or [FolderPair(images, masks, "train", "")]
    for place, split in _split_folders(folder):
        images, masks = _find_image_and_mask_folder(place)
        if images and (masks or split == "test"):
            yield FolderPair(images, masks, split, f"{place.name}/")


def _split_folders(folder: Path) -> list[tuple[Path, Split]]:
    """Folders inside that are named by a split."""
    entries = [entry for entry in list_entries(folder) if entry.name.lower() in SPLITS]
    return [(entry, SPLITS[entry.name.lower()]) for entry in entries]


def _find_image_and_mask_folder(folder: Path) -> tuple[Path | None, Path | None]:
    return _find_folder(folder, IMAGE_FOLDERS), _find_folder(folder, MASK_FOLDERS)


def _find_folder(folder: Path, names: tuple[str, ...]) -> Path | None:
    existing = [folder / name for name in names if (folder / name).is_dir()]
    return next(iter(existing), None)


# --- .npz cases ----------------------------------------------------------------------------------


def _read_npz_cases(folder: Path) -> Iterator[Case]:
    """Cases with `imgs`, and `gts` where there is ground truth, in a folder or in folders of it
    named by split.
    """
    yield from _read_npz_folder(folder, "train", "")
    for place, split in _split_folders(folder):
        yield from _read_npz_folder(place, split, f"{place.name}/")


def _read_npz_folder(folder: Path, split: Split, prefix: str) -> Iterator[Case]:
    for file in list_entries(folder):
        if file.suffix.lower() != ".npz":
            continue
        targets: tuple[GroundTruth, ...] = ()
        if _has_masks(file):
            targets = (GroundTruth(file, "", "instance"),)
        identity = prefix + stem_of(file)
        yield Case(identity, file, targets, split, identity)


def _has_masks(path: Path) -> bool:
    if not path.is_file():  # opening a pipe would wait for ever
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return True  # reading it will report what is wrong
    return not _MASK_MEMBERS.isdisjoint(members)
