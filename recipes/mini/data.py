"""Development data as flat images with label planes: what both training and evaluation read.

A `Scene` is one image, slice or frame. Its planes are label maps; targets that may overlap lie in
different planes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

#: trained kinds left out for reasons of their own: pseudo labels, made from other sets, masks off
#: the array grid, and a
#: group that stands on both sides of the split
LEFT_OUT = (
    "video_phase_contrast_t98g",
    "video_known_motion",
    "dicom_ct_pet_mr_rtstruct",
    "mri_spine_sct",
)
#: kept for measuring tracking
LEFT_OUT_ITEMS = ("video_larynx_surgery/seq4",)
MIN_AREA = 24


@dataclass(eq=False)
class Scene:
    """One image with targets.

    Attributes:
        source: data set (and source within a mixed one).
        key: where it came from, for lists of cases.
        image: (row, column, 3) uint8.
        planes: (plane, row, column) uint16 labels, 0 is no target.
        names: what the labels of each plane mean.
    """

    source: str
    key: str
    image: NDArray[np.uint8]
    planes: NDArray[np.uint16]
    names: tuple[str, ...]


def to_8bit(values: NDArray, modality: str = "") -> NDArray[np.uint8]:
    """A window for CT (-160 to 240), the 0.5 and 99.5 percentiles for everything that is not 8 bit
    yet.
    """
    if values.dtype == np.uint8:
        return values
    values = values.astype(np.float32)
    low, high = (
        (-160, 240)
        if modality.startswith("CT") and values.min() < -200
        else np.percentile(values, [0.5, 99.5])
    )
    return np.clip((values - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)


def _rgb(values: NDArray) -> NDArray[np.uint8]:
    return np.ascontiguousarray(values if values.ndim == 3 else np.repeat(values[..., None], 3, -1))


def _flat(path: Path) -> NDArray:
    if path.suffix in (".tif", ".tiff"):
        return tifffile.imread(path)
    image = Image.open(path)
    if image.mode in ("I;16", "I", "L", "1"):
        return np.asarray(image)
    return np.asarray(image if image.mode == "P" else image.convert("RGB"))


def film(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Frames of a video file or of a folder of images."""
    if path.is_dir():
        for frame in sorted(p for p in path.iterdir() if p.suffix in (".jpg", ".png")):
            yield _flat(frame)
        return
    import av

    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def _slices(
    volume: NDArray, masks: list[NDArray], spacing: tuple[float, ...], most: int
) -> Iterator[tuple[str, NDArray, list[NDArray]]]:
    """Slices that hold a target: across the coarsest axis, or all three where the grid is even."""
    isotropic = max(spacing) < 1.3 * min(spacing)
    thick = int(np.argmin(volume.shape) if isotropic else np.argmax(spacing))
    even = isotropic and min(volume.shape) > 40
    for axis in range(3) if even else (thick,):
        area = sum((m > 0).sum(tuple(a for a in range(3) if a != axis)) for m in masks)
        held = np.flatnonzero(area >= 40)
        count = most // 3 if even else most
        for index in (
            held[np.unique(np.linspace(0, len(held) - 1, count).astype(int))] if len(held) else ()
        ):
            yield (
                f"{axis}:{index}",
                np.take(volume, index, axis),
                [np.take(m, index, axis) for m in masks],
            )


def _views(folder: Path, item: dict, most: int) -> Iterator[tuple[str, NDArray, list[NDArray]]]:
    """(where, image, one mask a target) of an item: itself, its slices, or its frames."""
    image = folder / item["image"]
    targets = [folder / t["path"] for t in item["targets"]]
    if image.is_dir() or image.suffix in (".mp4", ".avi"):
        frames = list(film(image))
        masks = [sorted(t.glob("*.png")) for t in targets]
        for k in np.unique(np.linspace(0, len(frames) - 1, most).astype(int)):
            yield str(k), frames[k], [_flat(m[k]) for m in masks]
    elif image.name.endswith((".nii.gz", ".nii")):
        volume = nibabel.load(image)
        values = to_8bit(np.asarray(volume.dataobj), item.get("item_modality", ""))
        masks = [np.asarray(nibabel.load(t).dataobj).astype(np.int32) for t in targets]
        yield from _slices(values, masks, volume.header.get_zooms()[:3], most)
    elif image.suffix == ".tif":
        stack = to_8bit(tifffile.imread(image))
        yield from _slices(stack, [tifffile.imread(t) for t in targets], (2.0, 1.0, 1.0), most)
    else:
        yield "", to_8bit(_flat(image)), [_flat(t) for t in targets]


def _binary(mask: NDArray) -> NDArray[np.bool_]:
    mask = mask if mask.ndim == 2 else mask.max(-1)
    return mask > (127 if mask.max() > 127 else 0)


def _parts(mask: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Connected parts large enough to be meant."""
    labels, count = ndimage.label(mask)
    area = np.bincount(labels.ravel(), minlength=count + 1)
    small = area < max(MIN_AREA, 0.01 * area[1:].max(initial=0))
    labels[small[labels]] = 0
    return labels.astype(np.uint16)


def _planes(
    masks: list[NDArray], kinds: list[str], names: list[str]
) -> tuple[list[NDArray], list[str]]:
    planes = []
    meanings = []
    for mask, kind, name in zip(masks, kinds, names, strict=True):
        if kind == "binary":
            whole = _binary(mask)
            parts = _parts(whole)
            if parts.max() > 1:
                planes.append(parts)
                meanings.append(f"{name} (part)")
            planes.append(whole.astype(np.uint16))
            meanings.append(name)
        else:
            planes.append((mask if mask.ndim == 2 else mask[..., 0]).astype(np.uint16))
            meanings.append(name)
    if "axon" in names and "myelin" in names:  # each axon's own sheath: real rings
        axon = masks[names.index("axon")]
        myelin = _binary(masks[names.index("myelin")])
        distance, (y, x) = ndimage.distance_transform_edt(axon == 0, return_indices=True)
        planes.append(np.where(myelin & (distance < 25), axon[y, x], 0).astype(np.uint16))
        meanings.append("sheath")
    return planes, meanings


def index(root: Path) -> dict[str, dict]:
    return {
        entry["name"]: entry for entry in json.loads((root / "index.json").read_text())["datasets"]
    }


def scenes(root: Path, name: str, split: str | None, most: int = 40) -> Iterator[Scene]:
    """Scenes of one data set; at most `most` slices or frames of an item. `split` None takes all
    items.
    """
    folder = root / name
    for item in json.loads((folder / "dataset.json").read_text())["items"]:
        if (split and item["split"] != split) or f"{name}/{item['id']}" in LEFT_OUT_ITEMS:
            continue
        kinds = [t["kind"] for t in item["targets"]]
        labels = [str(t["label"]) for t in item["targets"]]
        for where, image, masks in _views(folder, item, most):
            planes, names = _planes(masks, kinds, labels)
            if name == "video_larynx_surgery":
                planes = [np.where(planes[0] == 2, 0, planes[0])]  # "other tissue" is no object
            source = f"{name}/{item['source_set']}" if "source_set" in item else name
            yield Scene(
                source,
                f"{name}/{item['id']}/{where}",
                _rgb(image),
                np.stack(planes),
                tuple(names),
            )


def stack_items(
    root: Path, name: str, split: str | None
) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.int32]]]:
    """(source, frames (t, row, column, 3), labels (t, row, column)) of volumes and videos, along
    the coarsest axis.
    """
    folder = root / name
    for item in json.loads((folder / "dataset.json").read_text())["items"]:
        image = folder / item["image"]
        target = folder / item["targets"][0]["path"]
        if (split and item["split"] != split) or (
            f"{name}/{item['id']}" in LEFT_OUT_ITEMS and split == "train"
        ):
            continue
        if image.is_dir() or image.suffix in (".mp4", ".avi"):
            frames = np.stack([_rgb(f) for f in film(image)])
            labels = np.stack([_flat(p) for p in sorted(target.glob("*.png"))]).astype(np.int32)
            if item["targets"][0]["kind"] == "binary":
                labels = (labels > 127).astype(np.int32)
            if name == "video_larynx_surgery":
                labels = np.where(labels == 2, 0, labels)
        elif image.suffix == ".tif":
            frames = np.stack([_rgb(f) for f in to_8bit(tifffile.imread(image))])
            labels = tifffile.imread(target).astype(np.int32)
        elif image.name.endswith(".nii.gz"):
            volume = nibabel.load(image)
            values = to_8bit(np.asarray(volume.dataobj), item.get("item_modality", ""))
            labels = np.asarray(nibabel.load(target).dataobj).astype(np.int32)
            spacing = volume.header.get_zooms()[:3]
            axis = int(
                np.argmin(values.shape) if max(spacing) < 1.3 * min(spacing) else np.argmax(spacing)
            )
            frames = np.stack([_rgb(f) for f in np.moveaxis(values, axis, 0)])
            labels = np.moveaxis(labels, axis, 0)
            if item["targets"][0]["kind"] == "binary":
                labels = ndimage.label(labels > 0)[0].astype(np.int32)
        else:
            continue
        yield name, frames, np.ascontiguousarray(labels)


def training_scenes(root: Path) -> list[Scene]:
    """Every scene that weights may be trained on: marked so, and of split `train`."""
    names = [n for n, entry in index(root).items() if entry["weights"] and n not in LEFT_OUT]
    return [scene for name in names for scene in scenes(root, name, "train")]


def validation_scenes(root: Path) -> list[Scene]:
    names = [n for n, entry in index(root).items() if entry["weights"] and n not in LEFT_OUT]
    return [scene for name in names for scene in scenes(root, name, "val")]
