"""OME-Zarr 0.4 and 0.5 (and plain zarr arrays) in, chunk by chunk. The metadata are JSON and are
parsed here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segscope._optional import require
from segscope.arrays import Pixels
from segscope.errors import ReadError, UsageError
from segscope.geometry import Geometry
from segscope.io.base import (
    FolderFormat,
    ReadOptions,
    check_declared,
    choose_part,
    reading,
    refuse_options,
)
from segscope.io.frame_source import LazyFrames
from segscope.stack import Kind, Stack

Json = Any
"""What the metadata of an untrusted file hold."""
ZarrNode = Any
"""A zarr group or array; zarr is optional, so its types are not known here."""

_MARKS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
_MILLIMETRES = {
    "meter": 1e3,
    "centimeter": 10.0,
    "millimeter": 1.0,
    "micrometer": 1e-3,
    "nanometer": 1e-6,
    "angstrom": 1e-7,
    "picometer": 1e-9,
}
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
        zarr = require("zarr", "zarr", "read OME-Zarr")
        refuse_options(path, options, "volume", "channel")
        with reading(path, _WHAT):
            node = zarr.open(str(path), mode="r")
            if hasattr(node, "keys"):
                image = _read_ome_image(path, node)
            else:
                image = _read_plain_array(path, node)
            return _make_stack(path, image, ZarrFrames(path, image, options))


# --- metadata ------------------------------------------------------------------------------------


@dataclass
class Axis:
    """One axis of an array.

    Attributes:
        name: "t", "c", "z", "y" or "x".
        unit: as the file names it, empty where it does not.
        scale: distance of two neighbours, in that unit.
        shift: coordinate of the first, in that unit.
    """

    name: str
    unit: str = ""
    scale: float = 1.0
    shift: float = 0.0

    @property
    def scale_mm(self) -> float | None:
        """Distance of two neighbours in millimetres; None where the unit is no length."""
        if self.unit not in _MILLIMETRES:
            return None
        return self.scale * _MILLIMETRES[self.unit]

    @property
    def shift_mm(self) -> float:
        return self.shift * _MILLIMETRES.get(self.unit, 1.0)


@dataclass(frozen=True)
class ZarrImage:
    """An array of full resolution and what its axes mean."""

    array: ZarrNode
    axes: Sequence[Axis]

    def axis(self, name: str) -> Axis | None:
        """The axis of a name, if the array has it."""
        return {axis.name: axis for axis in self.axes}.get(name)

    def length(self, name: str) -> int:
        """Length of an axis; 1 where the array does not have it."""
        names = [axis.name for axis in self.axes]
        lengths = dict(zip(names, self.array.shape, strict=True))
        return int(lengths.get(name, 1))


def _read_plain_array(path: Path, array: ZarrNode) -> ZarrImage:
    if array.ndim not in (2, 3):
        raise ReadError(
            f"{path} is a zarr array with {array.ndim} axes; "
            "without OME metadata only 2 or 3 axes can be read"
        )
    return ZarrImage(array, list(map(Axis, "zyx"[-array.ndim :])))


def _read_ome_image(path: Path, group: ZarrNode) -> ZarrImage:
    attributes = dict(group.attrs)
    multiscales = attributes.get("ome", attributes).get("multiscales")
    if not multiscales:
        listing = ", ".join(sorted(group.keys())[:8])
        raise UsageError(
            f"{path} is a zarr group without an image of its own; name one inside it ({listing})"
        )
    image = multiscales[0]
    level = image["datasets"][0]
    inner = str(level["path"])
    if ".." in Path(inner).parts or Path(inner).is_absolute():
        raise ReadError(
            f"{path} names a level outside itself ({inner}); it is damaged or malicious"
        )
    array = group[inner]
    axes = _read_axes(path, image, array.ndim)
    _apply_transforms(axes, level.get("coordinateTransformations", []))
    _apply_transforms(axes, image.get("coordinateTransformations", []))
    return ZarrImage(array, axes)


def _read_axes(path: Path, image: Mapping[str, Json], count: int) -> list[Axis]:
    axes = list(map(_parse_axis, image.get("axes") or "tczyx"[-count:]))
    names = [axis.name for axis in axes]
    is_distinct = len(set(names)) == len(names) == count
    if not is_distinct or not set(names) <= set("tczyx") or names[-2:] != ["y", "x"]:
        raise ReadError(
            f"{path} has the axes {names} for {count} dimensions; "
            "expected any of t, c, z, and then y, x"
        )
    return axes


def _parse_axis(entry: Json) -> Axis:
    """An axis of OME-Zarr: an object with a name and a unit, or a name alone."""
    if isinstance(entry, str):
        return Axis(entry)
    return Axis(str(entry["name"]), str(entry.get("unit", "")))


def _apply_transforms(axes: Sequence[Axis], transforms: Iterable[Mapping[str, Json]]) -> None:
    """Apply scales and translations, in their order, to the scale and shift of the axes."""
    for transform in transforms:
        kind = str(transform.get("type"))
        values = list(map(float, transform.get(kind, [])))
        if len(values) != len(axes):
            continue
        for axis, value in zip(axes, values, strict=True):
            if kind == "scale":
                axis.scale *= value
                axis.shift *= value
            elif kind == "translation":
                axis.shift += value


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
    notes: tuple[str, ...] = ()
    geometry = _make_geometry(image)
    if geometry is None:
        notes = ("the file names no unit of length for its axes: millimetres are unknown",)
    meta: dict[str, object] = {"notes": notes}
    if frames.frame_axis == "z":
        kind: Kind = "image" if len(frames) == 1 else "volume"
        return Stack(frames, kind, "microscopy", geometry, None, path, meta=meta)
    times = None
    time_axis = image.axis("t")
    if time_axis is not None and time_axis.unit in _SECONDS and time_axis.scale > 0:
        interval = time_axis.scale * _SECONDS[time_axis.unit]
        times = np.arange(len(frames), dtype=np.float64) * interval
    spacing = [axis.scale_mm for axis in image.axes if axis.name in "yx"]
    if _has_length_units(image):
        meta["pixel_spacing_mm"] = tuple(spacing)
    return Stack(frames, "video", "microscopy", None, times, path, meta=meta)


def _has_length_units(image: ZarrImage) -> bool:
    return all(axis.unit in _MILLIMETRES for axis in image.axes if axis.name in "zyx")


def _make_geometry(image: ZarrImage) -> Geometry | None:
    """Affine by scales and shifts; None where an axis of space has no length."""
    if not _has_length_units(image):
        return None
    affine = np.eye(4)
    for column, name in enumerate("xyz"):
        axis = image.axis(name)
        if axis is None:
            continue
        if not 0 < axis.scale < math.inf:
            return None
        affine[column, column] = axis.scale_mm
        affine[column, 3] = axis.shift_mm
    return Geometry(affine)


FORMATS = (OmeZarr(),)
