"""OME-Zarr (and plain zarr arrays): images in, chunk by chunk, and label images as masks."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from segscope._optional import require
from segscope.arrays import Pixels
from segscope.errors import ReadError, UsageError
from segscope.io.base import (
    FolderFormat,
    ReadOptions,
    check_declared,
    choose_part,
    reading,
    refuse_options,
)
from segscope.io.frame_source import LazyFrames
from segscope.io.label_frames import masks_from_stack, place_on_grid
from segscope.io.zarr_metadata import (
    ZarrImage,
    ZarrNode,
    ome_attributes,
    read_ome_image,
    read_plain_array,
)
from segscope.masks import Masks
from segscope.stack import Kind, Stack

_MARKS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
_SECONDS = {
    "second": 1.0,
    "millisecond": 1e-3,
    "microsecond": 1e-6,
    "minute": 60.0,
    "hour": 3600.0,
}
_WHAT = "an OME-Zarr image"


class OmeZarr(FolderFormat):
    """A zarr folder; of an OME-Zarr pyramid the level of full resolution."""

    name = "OME-Zarr"
    suffixes = (".zarr",)

    def recognises_folder(self, folder: Path) -> bool:
        return any((folder / mark).is_file() for mark in _MARKS)

    def read(self, path: Path, options: ReadOptions) -> Stack:
        """Open an image; frames are loaded when asked for.

        Raises:
            UsageError: several volumes or images and no choice, or a choice that does not exist.
            ReadError: damaged, or axes that are no image, volume or video.
            MissingExtra: zarr is not installed.
        """
        refuse_options(path, options, "volume", "channel")
        node = _open_node(path)
        with reading(path, _WHAT):
            image = _read_image(path, node)
            return _make_stack(path, image, ZarrFrames(path, image, options))


def _open_node(path: Path) -> ZarrNode:
    zarr = require("zarr", "zarr", "read OME-Zarr")
    with reading(path, _WHAT):
        return zarr.open(str(path), mode="r")


def _is_group(node: ZarrNode) -> bool:
    return hasattr(node, "keys")


def _read_image(
    path: Path, node: ZarrNode, shape_zyx: tuple[int, int, int] | None = None
) -> ZarrImage:
    if _is_group(node):
        return read_ome_image(path, node, shape_zyx)
    return read_plain_array(path, node)


# --- frames --------------------------------------------------------------------------------------


class ZarrFrames(LazyFrames):
    """Frames (row, column[, channel]) of a zarr array; a frame loads the chunks it touches.

    Args:
        path: named in messages.
        image: the array and its axes.
        options: which time point and channel.
    """

    def __init__(self, path: Path, image: ZarrImage, options: ReadOptions) -> None:
        array = image.array
        dtype = np.dtype(array.dtype)
        if dtype.kind not in "buif":
            raise ReadError(f"{path} holds values of type {array.dtype}; expected numbers")
        check_declared(path, (math.prod(array.shape[:-2]), *array.shape[-2:]), dtype.itemsize)
        check_declared(path, (1, 1, *array.chunks), dtype.itemsize)
        self.path = path
        self.image = image
        self.frame_axis = "z"
        if image.length("z") == 1 and image.length("t") > 1:
            self.frame_axis = "t"
        self._fixed = self._fix_indices(options)
        shape: tuple[int, ...] = (
            image.length(self.frame_axis),
            image.length("y"),
            image.length("x"),
        )
        if image.axis("c") and "c" not in self._fixed:
            shape = (*shape, image.length("c"))
        super().__init__(shape, dtype.newbyteorder("="))

    def _fix_indices(self, options: ReadOptions) -> dict[str, int]:
        """The index along each axis that is neither frames, rows, columns nor channels."""
        image = self.image
        fixed: dict[str, int] = {}
        if self.frame_axis == "z" and image.axis("t"):
            times = image.length("t")
            fixed["t"] = choose_part(self.path, options.volume, times, "time points", "volume")
        elif options.volume is not None:
            raise UsageError(f"the option volume does not apply to {self.path}; leave it out")
        if self.frame_axis == "t" and image.axis("z"):
            fixed["z"] = 0
        channels = image.length("c")
        if image.axis("c") and (channels == 1 or options.channel is not None):
            fixed["c"] = choose_part(self.path, options.channel, channels, "channels", "channel")
        elif options.channel not in (None, 0):
            raise UsageError(f"{self.path} has one channel; there is no channel {options.channel}")
        return fixed

    def read_frame(self, index: int) -> Pixels:
        indices: dict[str, int] = {**self._fixed, self.frame_axis: index}
        selection = tuple(indices.get(axis.name, slice(None)) for axis in self.image.axes)
        with reading(self.path, _WHAT):
            pixels = np.asarray(self.image.array[selection]).astype(self.dtype, copy=False)
        if pixels.ndim == 3:
            return np.ascontiguousarray(np.moveaxis(pixels, 0, -1))
        return pixels


def _make_stack(path: Path, image: ZarrImage, frames: ZarrFrames) -> Stack:
    notes = list(image.notes)
    if not image.has_lengths and not notes:
        notes.append("the file names no unit of length for its axes: millimetres are unknown")
    meta: dict[str, object] = {}
    if image.channel_names:
        meta["channel_names"] = image.channel_names
    if len(frames.shape) == 4:
        notes.append(_describe_channels(image, frames.shape[3]))
    meta["notes"] = tuple(notes)
    geometry = image.geometry
    if frames.frame_axis == "z":
        kind: Kind = "image" if len(frames) == 1 else "volume"
        return Stack(frames, kind, "microscopy", geometry, None, path, meta=meta)
    times = None
    time_axis = image.axis("t")
    if time_axis is not None and time_axis.unit in _SECONDS and time_axis.scale > 0:
        interval = time_axis.scale * _SECONDS[time_axis.unit]
        times = np.arange(len(frames), dtype=np.float64) * interval
    if image.has_lengths:
        spacing = [axis.scale_mm for axis in image.axes if axis.name in "yx"]
        meta["pixel_spacing_mm"] = tuple(spacing)
    return Stack(frames, "video", "microscopy", geometry, times, path, meta=meta)


def _describe_channels(image: ZarrImage, count: int) -> str:
    names = [f"{number} {name}".strip() for number, name in enumerate(image.channel_names[:count])]
    listing = f" ({', '.join(names)})" if any(image.channel_names) else ""
    return f"{count} channels{listing}: all are read; the option channel chooses one"


# --- masks ---------------------------------------------------------------------------------------


def read_masks(path: Path, like: Stack | None = None) -> Masks:
    """Masks of a label image, on the grid of `like`.

    Args:
        path: a label image, or the image whose only label image it is.
        like: the stack; of a pyramid, the level of its size is read.

    Raises:
        UsageError: several label images.
        ReadError: damaged, or not labels.
    """
    node = _open_node(path)
    with reading(path, "an OME-Zarr label image"):
        shape_zyx = None if like is None else like.shape_zyx
        image = _read_image(path, _find_labels(path, node), shape_zyx)
        stack = _make_stack(path, image, ZarrFrames(path, image, ReadOptions()))
        masks = masks_from_stack(stack)
        names = {label: image.label_names.get(label, "") for label in masks.names}
        return place_on_grid(replace(masks, names=names), like, path)


def _find_labels(path: Path, node: ZarrNode) -> ZarrNode:
    """The label image of a node: itself, or the only one among its labels."""
    if not _is_group(node) or "image-label" in ome_attributes(node):
        return node
    labels = node
    if "labels" in node:
        labels = node["labels"]
    names = ome_attributes(labels).get("labels")
    if not isinstance(names, list) or not names:
        return node
    if len(names) > 1:
        listing = ", ".join(map(str, names[:8]))
        raise UsageError(
            f"{path} holds the label images {listing}; name one of them, as in "
            f"{path / 'labels' / str(names[0])}"
        )
    name = str(names[0])
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise ReadError(f"{path} names a label image outside itself ({name}); it is damaged")
    return labels[name]


FORMATS = (OmeZarr(),)
