"""Lists of data sets in JSON: our dataset.json, nnU-Net's, MONAI datalists."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from segscope.errors import ReadError
from segscope.io.datasets.dataset import (
    SPLITS,
    Case,
    Complain,
    DataSet,
    GroundTruth,
    Layout,
    Split,
    TargetKind,
)
from segscope.io.datasets.folders import list_entries, stem_of
from segscope.io.paths import find_path

Json = Any
"""A value of a JSON file; nothing about an untrusted one is known until it is checked."""
JsonObject = Mapping[str, Json]

_MILLIMETRES = {"mm": 1.0, "um": 1e-3, "nm": 1e-6}
_KINDS: tuple[TargetKind, ...] = ("binary", "semantic", "instance")
_NNUNET_SPLITS: dict[str, Split] = {"Tr": "train", "Val": "val", "Ts": "test"}
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True)
class Listing:
    """A JSON file that lists cases.

    Attributes:
        path: the file.
        document: its content.
        labels: class names by number.
        complain: is called for each fault.
    """

    path: Path
    document: JsonObject
    labels: dict[int, str]
    complain: Complain

    @property
    def folder(self) -> Path:
        return self.path.parent

    @property
    def modality(self) -> str | None:
        """What the list states about all its scans; the first channel where it names channels."""
        stated = self.channel_names
        if isinstance(stated, Mapping):
            stated = next(iter(stated.values()), None)
        if not stated:
            return None
        return str(stated)

    @property
    def channel_names(self) -> Json:
        """Names of channels by number, or one for all, as the file states them."""
        return self.document.get("channel_names") or self.document.get("modality")

    def label_targets(self, label: Json) -> tuple[GroundTruth, ...]:
        """The targets of a file or files with class numbers."""
        files = [self.find(name) for name in _flatten(label)]
        return tuple(GroundTruth(file, "", "semantic", self.labels) for file in files)

    def find(self, name: str) -> Path:
        """The file of a name that the list states relative to its folder."""
        return find_path(self.folder / name)

    def reject_entry(self, identity: str, entry: Json, error: Exception) -> None:
        """Complain about an entry that is not what its layout prescribes."""
        message = f"an entry of {self.path} is malformed ({error!r}): {str(entry)[:200]}"
        self.complain("list", identity, self.path, message)


def read_listing(path: Path, complain: Complain) -> DataSet:
    """The data set of a JSON file."""
    document = read_json_object(path)
    labels = _read_labels(path, document.get("labels"))
    listing = Listing(path, document, labels, complain)
    layout, read_cases = _detect_layout(listing)
    folder_name = path.parent.resolve().name
    return DataSet(
        name=str(document.get("name") or folder_name),
        path=path.parent,
        cases=tuple(read_cases(listing)),
        layout=layout,
        listing=path,
        modality=listing.modality,
        licence=str(document.get("license") or document.get("licence") or ""),
        labels=labels,
    )


def _detect_layout(listing: Listing) -> tuple[Layout, Callable[[Listing], Iterator[Case]]]:
    document = listing.document
    if "items" in document:
        return "segscope", _read_items
    if "labels" in document and "dataset" in document:
        return "nnU-Net", _read_nnunet_list
    if "labels" in document and (listing.folder / "imagesTr").is_dir():
        return "nnU-Net", _read_nnunet_folders
    return "datalist", _read_datalist


def read_json_object(path: Path) -> dict[str, Json]:
    """The object in a JSON file.

    Raises:
        ReadError: damaged, or not an object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ReadError(f"{path} cannot be read as a list of cases: {error}") from error
    if not isinstance(document, dict):
        raise ReadError(f"{path} is a list; expected an object with items, training or labels")
    return document


def _read_labels(path: Path, labels: Json) -> dict[int, str]:
    """Names by class number from {"1": "liver"} or {"liver": 1}; background and other remarks are
    left out.
    """
    names: dict[int, str] = {}
    if not isinstance(labels, Mapping):
        return names
    for key, value in labels.items():
        if _is_region(value):
            raise ReadError(
                f"{path} declares the label {key!r} as a region, the classes {value} together; "
                "expected one number for each label. Name the classes that the files hold "
                '("edema": 1, "core": 2 ...) and join them afterwards.'
            )
        if str(key).isdecimal() and isinstance(value, str):
            names[int(key)] = value
        elif isinstance(value, int) or (isinstance(value, str) and value.isdecimal()):
            names[int(value)] = str(key)
    return {number: name for number, name in names.items() if number > 0}


def _is_region(value: Json) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(part, int) for part in value)


def _flatten(value: Json) -> list[str]:
    """The texts of a text, or of lists in lists."""
    if isinstance(value, list):
        return list(chain.from_iterable(map(_flatten, value)))
    if isinstance(value, str):
        return [value]
    return []


# --- our dataset.json ----------------------------------------------------------------------------


def _read_items(listing: Listing) -> Iterator[Case]:
    for item in listing.document["items"]:
        try:
            yield _read_item(listing, item)
        except _MALFORMED as error:
            identity = ""
            if isinstance(item, Mapping):
                identity = str(item.get("id", ""))
            listing.reject_entry(identity, item, error)


def _read_item(listing: Listing, item: JsonObject) -> Case:
    identity = str(item["id"])
    scribbles = _flatten([item.get("scribble"), item.get("scribbles")])
    return Case(
        id=identity,
        image=listing.find(item["image"]),
        targets=tuple(_read_target(listing, entry) for entry in item.get("targets", [])),
        split=SPLITS[item.get("split", "train")],
        group=str(item.get("group") or identity),
        modality=item.get("item_modality") or listing.modality,
        source=str(item.get("source_set", "")),
        licence=str(item.get("license") or listing.document.get("license") or ""),
        scribbles=tuple(map(listing.find, scribbles)),
        fold=item.get("fold"),
        spacing_zyx_mm=_read_spacing(item),
    )


def _read_target(listing: Listing, entry: JsonObject) -> GroundTruth:
    kind = entry.get("kind", "binary")
    if kind not in _KINDS:
        raise KeyError(f"kind {kind!r} is not binary, semantic or instance")
    label = str(entry.get("label", ""))
    return GroundTruth(listing.find(entry["path"]), label, kind, listing.labels)


def _read_spacing(item: JsonObject) -> tuple[float, float, float] | None:
    """From spacing_nm [z, y, x], pixel_size_um [y, x], pixel_size_mm 0.2 and the like; an image is
    1 mm deep.
    """
    for unit, millimetres in _MILLIMETRES.items():
        value = item.get(f"spacing_{unit}") or item.get(f"pixel_size_{unit}")
        if value is None:
            continue
        if not isinstance(value, list):
            value = [value, value]
        lengths = [float(length) * millimetres for length in value]
        if len(lengths) == 2:
            lengths.insert(0, 1.0)
        z, y, x = lengths
        return (z, y, x)
    return None


# --- nnU-Net -------------------------------------------------------------------------------------


def _read_nnunet_folders(listing: Listing) -> Iterator[Case]:
    """Cases of imagesTr, labelsTr and the like."""
    ending = str(listing.document.get("file_ending", ""))
    channel_count = 1
    if isinstance(listing.channel_names, Mapping):
        channel_count = len(listing.channel_names)
    for suffix, split in _NNUNET_SPLITS.items():
        labels = listing.folder / f"labels{suffix}"
        masks = {stem_of(file): file for file in list_entries(labels, ending)}
        images = list_entries(listing.folder / f"images{suffix}", ending)
        for stem, channels in _group_channels(images).items():
            first, *others = channels.values()
            missing = sorted(set(range(channel_count)) - set(channels))
            if missing and -1 not in channels:
                message = (
                    f"{first} lacks its channels {missing}: {listing.path} declares {channel_count}"
                )
                listing.complain("channels", stem, first, message)
            targets: tuple[GroundTruth, ...] = ()
            if stem in masks:
                targets = (GroundTruth(masks[stem], "", "semantic", listing.labels),)
            elif split != "test":
                message = f"{first} has no mask {stem}{ending} in {labels}"
                listing.complain("unpaired", stem, first, message)
            yield Case(stem, first, targets, split, stem, listing.modality, tuple(others))


def _group_channels(images: Sequence[Path]) -> dict[str, dict[int, Path]]:
    """Files by case and number of the channel (_0000, _0001 ...); -1 for a file without one."""
    cases: dict[str, dict[int, Path]] = {}
    for file in images:
        stem = stem_of(file)
        name, _, digits = stem.rpartition("_")
        if name and len(digits) == 4 and digits.isdecimal():
            cases.setdefault(name, {})[int(digits)] = file
        else:
            cases.setdefault(stem, {})[-1] = file
    return cases


def _read_nnunet_list(listing: Listing) -> Iterator[Case]:
    """nnU-Net's dataset.json that names files anywhere: "dataset": {id: {"images": [...], "label":
    ...}}.
    """
    for identity, entry in listing.document["dataset"].items():
        try:
            image, *others = map(listing.find, _flatten(entry["images"]))
            targets = listing.label_targets(entry.get("label"))
        except _MALFORMED as error:
            listing.reject_entry(identity, entry, error)
            continue
        modality = listing.modality
        yield Case(identity, image, targets, "train", identity, modality, tuple(others))


# --- MONAI datalists -----------------------------------------------------------------------------


def _read_datalist(listing: Listing) -> Iterator[Case]:
    for key, entries in listing.document.items():
        split = SPLITS.get(key.lower())
        if split is None or not isinstance(entries, list):
            continue
        for entry in entries:
            try:
                yield _read_datalist_entry(listing, entry, split)
            except _MALFORMED as error:
                listing.reject_entry("", entry, error)


def _read_datalist_entry(listing: Listing, entry: Json, split: Split) -> Case:
    if isinstance(entry, str):
        entry = {"image": entry}
    names = _flatten(entry["image"])
    image, *others = map(listing.find, names)
    identity = str(entry.get("id") or Path(names[0]).parent / stem_of(image))
    fold = entry.get("fold")
    if not isinstance(fold, int):
        fold = None
    return Case(
        id=identity,
        image=image,
        targets=listing.label_targets(entry.get("label")),
        split=split,
        group=str(entry.get("group") or identity),
        modality=listing.modality,
        channels=tuple(others),
        fold=fold,
    )
