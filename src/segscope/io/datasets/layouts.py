"""How data sets lie on disk: our dataset.json, nnU-Net folders, MONAI datalists, pairs matched by
stem, .npz cases.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from segscope.errors import ReadError
from segscope.io import FORMATS, MASK_FORMATS, numpy_files
from segscope.io.base import suffix_of
from segscope.io.datasets.dataset import Case, Complain, DataSet, Layout, Split, Target, TargetKind

IMAGE_FOLDERS = ("images", "imgs", "image", "img", "imagesTr")
MASK_FOLDERS = (
    "masks",
    "labels",
    "gts",
    "annotations",
    "segmentations",
    "mask",
    "label",
    "gt",
    "labelsTr",
)
MASK_ENDINGS = ("", "_mask", "_masks", "_label", "_labels", "_seg", "_segmentation", "_gt")
_SPLITS: dict[str, Split] = {
    "training": "train", "train": "train", "validation": "val", "valid": "val", "val": "val", "testing": "test",
    "test": "test",
}  # fmt: skip
_IN_MM = {"mm": 1.0, "um": 1e-3, "nm": 1e-6}


def listed(listing: Path, complain: Complain) -> DataSet:
    """The data set of a JSON file."""
    document = json_object(listing)
    folder = listing.parent
    layout: Layout = "datalist"
    names = _names(listing, document.get("labels"))
    if "items" in document:
        layout = "segscope"
        found = _own(listing, document, names, complain)
    elif "labels" in document and "dataset" in document:
        layout = "nnU-Net"
        found = _nnunet_list(listing, document, names, complain)
    elif "labels" in document and (folder / "imagesTr").is_dir():
        layout = "nnU-Net"
        found = _nnunet(listing, document, names, complain)
    else:
        found = _datalist(listing, document, names, complain)
    name = document.get("name")
    licence = document.get("license") or document.get("licence") or ""
    name = str(name or folder.resolve().name)
    return DataSet(
        name, folder, tuple(found), layout, listing, _modality(document), str(licence), names
    )


def json_object(path: Path) -> dict[str, Any]:
    """What a JSON file holds."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ReadError(f"{path} cannot be read as a list of cases: {error}") from error
    if not isinstance(document, dict):
        raise ReadError(f"{path} is a list; wanted an object with items, training or labels")
    return document


def _names(listing: Path, labels: object) -> dict[int, str]:
    """Names by class number from {"1": "liver"} or {"liver": 1}; background and other remarks are
    left out.
    """
    names: dict[int, str] = {}
    for key, value in labels.items() if isinstance(labels, Mapping) else ():
        if str(key).isdecimal() and isinstance(value, str):
            names[int(key)] = value
        elif isinstance(value, int) or (isinstance(value, str) and value.isdecimal()):
            names[int(value)] = str(key)
        elif isinstance(value, list) and value and all(isinstance(part, int) for part in value):
            raise ReadError(
                f"{listing} declares the label {key!r} as a region, the classes {value} together; wanted one number a "
                'label. Name the classes that the files hold ("edema": 1, "core": 2 ...) and join them afterwards.'
            )
    return {number: name for number, name in names.items() if number > 0}


def _modality(document: Mapping[str, Any]) -> str | None:
    """What the list says of all its scans; the first channel where it names channels."""
    said = document.get("channel_names") or document.get("modality") or None
    said = next(iter(said.values()), None) if isinstance(said, Mapping) else said
    if said is None:
        return None
    return str(said)


def _own(
    listing: Path, document: Mapping[str, Any], names: dict[int, str], complain: Complain
) -> Iterator[Case]:
    for item in document["items"]:
        try:
            yield _own_case(listing.parent, document, item, names)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            identity = str(item.get("id", "")) if isinstance(item, Mapping) else ""
            complain(
                "list",
                identity,
                listing,
                f"an item of {listing} is malformed ({error!r}): {str(item)[:200]}",
            )


def _own_case(
    folder: Path, document: Mapping[str, Any], item: Mapping[str, Any], names: dict[int, str]
) -> Case:
    targets = tuple(
        Target(
            folder / entry["path"],
            str(entry.get("label", "")),
            _kind(entry.get("kind", "binary")),
            names,
        )
        for entry in item.get("targets", [])
    )
    identity = str(item["id"])
    return Case(
        identity,
        folder / item["image"],
        targets,
        _SPLITS[item.get("split", "train")],
        str(item.get("group") or identity),
        item.get("item_modality") or _modality(document),
        source=str(item.get("source_set", "")),
        licence=str(item.get("license") or document.get("license") or ""),
        scribbles=tuple(
            folder / file for file in _flat([item.get("scribble"), item.get("scribbles")])
        ),
        fold=item.get("fold"),
        spacing_zyx_mm=_spacing(item),
    )


def _kind(text: str) -> TargetKind:
    for kind in ("binary", "semantic", "instance"):
        if text == kind:
            return kind
    raise KeyError(f"kind {text!r} is not binary, semantic or instance")


def _flat(value: object) -> list[str]:
    """The texts of a text, or of lists in lists."""
    if isinstance(value, list):
        return [text for part in value for text in _flat(part)]
    if isinstance(value, str):
        return [value]
    return []


def _spacing(item: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """From spacing_nm [z, y, x], pixel_size_um [y, x], pixel_size_mm 0.2 and the like; a image is
    1 mm deep.
    """
    for unit, in_mm in _IN_MM.items():
        value = item.get(f"spacing_{unit}") or item.get(f"pixel_size_{unit}")
        if value is not None:
            lengths = [
                float(length) * in_mm
                for length in (value if isinstance(value, list) else [value, value])
            ]
            z, y, x = lengths if len(lengths) == 3 else [1.0, *lengths]
            return (z, y, x)
    return None


def _stem(path: Path) -> str:
    """Name without its format suffix (.nii.gz at once)."""
    known = (
        *(end for entry in FORMATS for end in entry.suffixes),
        *(end for e in MASK_FORMATS for end in e.suffixes),
    )
    suffix = suffix_of(path, known)
    if suffix:
        return path.name[: -len(suffix)]
    return path.stem


def files_of(folder: Path, ending: str = "") -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.name.endswith(ending)
    )


def _nnunet(
    listing: Path, document: Mapping[str, Any], names: dict[int, str], complain: Complain
) -> Iterator[Case]:
    folder = listing.parent
    ending = str(document.get("file_ending", ""))
    channels = document.get("channel_names") or document.get("modality")
    wanted = len(channels) if isinstance(channels, Mapping) else 1
    splits: tuple[tuple[str, Split], ...] = (("Tr", "train"), ("Val", "val"), ("Ts", "test"))
    for end, split in splits:
        truths = {_stem(path): path for path in files_of(folder / f"labels{end}", ending)}
        scans: dict[str, dict[int, Path]] = {}
        for path in files_of(folder / f"images{end}", ending):
            name, _, number = _stem(path).rpartition("_")
            numbered = bool(name) and len(number) == 4 and number.isdecimal()
            scans.setdefault(name if numbered else _stem(path), {})[
                int(number) if numbered else -1
            ] = path
        for stem, files in scans.items():
            image, *others = files.values()
            lacking = [
                number for number in range(wanted) if number not in files and -1 not in files
            ]
            if lacking:
                complain(
                    "channels",
                    stem,
                    image,
                    f"{image} lacks its channels {lacking}: {listing} declares {wanted}",
                )
            if stem not in truths and split != "test":
                complain(
                    "unpaired",
                    stem,
                    image,
                    f"{image} has no mask {stem}{ending} in {folder / f'labels{end}'}",
                )
            targets = (Target(truths[stem], "", "semantic", names),) if stem in truths else ()
            yield Case(stem, image, targets, split, stem, _modality(document), tuple(others))


def _nnunet_list(
    listing: Path, document: Mapping[str, Any], names: dict[int, str], complain: Complain
) -> Iterator[Case]:
    """nnU-Net's dataset.json that names files anywhere: "dataset": {id: {"images": [...], "label":
    ...}}.
    """
    for identity, entry in document["dataset"].items():
        try:
            image, *others = (listing.parent / file for file in _flat(entry["images"]))
            targets = tuple(
                Target(listing.parent / file, "", "semantic", names)
                for file in _flat(entry.get("label"))
            )
        except (KeyError, TypeError, ValueError) as error:
            complain(
                "list",
                identity,
                listing,
                f"the case {identity!r} of {listing} is malformed ({error!r})",
            )
            continue
        yield Case(identity, image, targets, "train", identity, _modality(document), tuple(others))


def _datalist(
    listing: Path, document: Mapping[str, Any], names: dict[int, str], complain: Complain
) -> Iterator[Case]:
    for key, entries in document.items():
        split = _SPLITS.get(key.lower())
        for entry in entries if split and isinstance(entries, list) else ():
            entry = {"image": entry} if isinstance(entry, str) else entry
            try:
                image, *others = (listing.parent / file for file in _flat(entry["image"]))
                labels = _flat(entry.get("label"))
                written = Path(_flat(entry["image"])[0])
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                message = f"an entry of {listing} is malformed ({error!r}): {str(entry)[:200]}"
                complain("list", "", listing, message)
                continue
            targets = tuple(
                Target(listing.parent / label, "", "semantic", names) for label in labels
            )
            identity = str(entry.get("id") or written.parent / _stem(image))
            fold = entry.get("fold")
            yield Case(
                identity, image, targets, split or "train", str(entry.get("group") or identity), _modality(document),
                tuple(others), fold=fold if isinstance(fold, int) else None,
            )  # fmt: skip


def in_folders(path: Path, complain: Complain) -> DataSet:
    """The data set of a folder without a list: pairs of folders, or `.npz` cases."""
    pairs = list(_pairs(path, complain))
    return DataSet(
        path.resolve().name, path, tuple(pairs or _npz(path)), "pairs" if pairs else "npz"
    )


def _pairs(folder: Path, complain: Complain) -> Iterator[Case]:
    for images, masks, split, prefix in _pair_folders(folder):
        truths = {_stem(path): path for path in files_of(masks)} if masks else {}
        for path in files_of(images):
            stem = _stem(path)
            found = [truths[stem + ending] for ending in MASK_ENDINGS if stem + ending in truths]
            identity = prefix + stem
            if masks and len(found) != 1:
                message = f"{path} has {len(found)} masks in {masks}; wanted one with the same name"
                complain("unpaired", identity, path, f"{message} ({stem}, or {stem}_mask ...)")
            yield Case(identity, path, tuple(Target(file) for file in found[:1]), split, identity)


def _pair_folders(folder: Path) -> Iterator[tuple[Path, Path | None, Split, str]]:
    """Folder of images, of their masks, split and start of the ids: images/ beside masks/,
    train/images/ beside train/masks/, or images/train/ beside masks/train/. A test split may have
    no masks.
    """
    images, masks = _two(folder)
    if images and masks:
        inner = [
            place
            for place in files_of(images)
            if place.name.lower() in _SPLITS and (masks / place.name).is_dir()
        ]
        for place in inner:
            yield place, masks / place.name, _SPLITS[place.name.lower()], f"{place.name}/"
        if not inner:
            yield images, masks, "train", ""
    for place in files_of(folder):
        split = _SPLITS.get(place.name.lower())
        images, masks = _two(place)
        if split and images and (masks or split == "test"):
            yield images, masks, split, f"{place.name}/"


def _two(folder: Path) -> tuple[Path | None, Path | None]:
    images = next((folder / name for name in IMAGE_FOLDERS if (folder / name).is_dir()), None)
    return images, next((folder / name for name in MASK_FOLDERS if (folder / name).is_dir()), None)


def _npz(folder: Path) -> Iterator[Case]:
    """Cases with `imgs`, and `gts` where there is truth, in a folder or in folders of it named by
    split.
    """
    for place in (
        folder,
        *(inner for inner in files_of(folder) if inner.is_dir() and inner.name.lower() in _SPLITS),
    ):
        split = "train" if place == folder else _SPLITS[place.name.lower()]
        for path in files_of(place):
            if path.suffix.lower() == ".npz":
                identity = path.stem if place == folder else f"{place.name}/{path.stem}"
                targets = (Target(path, "", "instance"),) if _holds_truth(path) else ()
                yield Case(identity, path, targets, split, identity)


def _holds_truth(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(
                name.removesuffix(".npy") in numpy_files.MASK_NAMES[:-1]
                for name in archive.namelist()
            )
    except (OSError, zipfile.BadZipFile):
        return True  # reading it will say what is wrong
