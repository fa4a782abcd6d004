"""Metadata of OME-Zarr 0.1 to 0.5: levels, axes, units, transformations and labels. They are JSON
and are parsed here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segscope.errors import ReadError, UsageError
from segscope.geometry import Geometry
from segscope.io.base import MAX_BYTES, MAX_FRAME_PIXELS

Json = Any
"""What the metadata of an untrusted file hold."""
ZarrNode = Any
"""A zarr group or array; zarr is optional, so its types are not known here."""

_MILLIMETRES = {
    "meter": 1e3,
    "centimeter": 10.0,
    "millimeter": 1.0,
    "micrometer": 1e-3,
    "nanometer": 1e-6,
    "angstrom": 1e-7,
    "picometer": 1e-9,
}
_AXIS_TYPES = {"time": "t", "channel": "c"}
_MAX_REDUCTION = 32  # from one level to the next, along one axis
_NAME_KEYS = ("name", "class", "label")


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
    """One level of an image and what its axes mean.

    Attributes:
        array: the level.
        axes: of the array.
        channel_names: as far as the file names its channels.
        label_names: names of the objects of a label image, by label.
        notes: what was not read or not applied.
    """

    array: ZarrNode
    axes: Sequence[Axis]
    channel_names: tuple[str, ...] = ()
    label_names: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def axis(self, name: str) -> Axis | None:
        """The axis of a name, if the array has it."""
        return {axis.name: axis for axis in self.axes}.get(name)

    def length(self, name: str) -> int:
        """Length of an axis; 1 where the array does not have it."""
        names = [axis.name for axis in self.axes]
        lengths = dict(zip(names, self.array.shape, strict=True))
        return int(lengths.get(name, 1))

    @property
    def has_lengths(self) -> bool:
        """Whether all axes of space have a unit of length."""
        return all(axis.unit in _MILLIMETRES for axis in self.axes if axis.name in "zyx")

    @property
    def geometry(self) -> Geometry | None:
        """Affine by scales and shifts; None where an axis of space has no length."""
        if not self.has_lengths:
            return None
        affine = np.eye(4)
        for column, name in enumerate("xyz"):
            axis = self.axis(name)
            if axis is None:
                continue
            if not 0 < axis.scale < math.inf:
                return None
            affine[column, column] = axis.scale_mm
            affine[column, 3] = axis.shift_mm
        return Geometry(affine, has_place=bool(affine[:3, 3].any()))


def read_plain_array(path: Path, array: ZarrNode) -> ZarrImage:
    """An array without OME metadata.

    Raises:
        ReadError: its axes could mean anything.
    """
    if array.ndim not in (2, 3):
        raise ReadError(
            f"{path} is a zarr array with {array.ndim} axes; "
            "without OME metadata only 2 or 3 axes can be read"
        )
    return ZarrImage(array, list(map(Axis, "zyx"[-array.ndim :])))


def read_ome_image(
    path: Path, group: ZarrNode, shape_zyx: tuple[int, int, int] | None = None
) -> ZarrImage:
    """The most detailed level that the limits of one image allow.

    Args:
        path: named in messages.
        group: the image, or a group with a single one inside, as bioformats2raw writes it.
        shape_zyx: take the level of this size, if there is one.

    Raises:
        UsageError: no image, or several.
        ReadError: damaged, or axes that are no image, volume or video.
    """
    group = _enter_single_image(group)
    attributes = ome_attributes(group)
    multiscales = attributes.get("multiscales")
    if not multiscales:
        listing = ", ".join(sorted(group.keys())[:8])
        raise UsageError(
            f"{path} is a zarr group without an image of its own; name one inside it ({listing})"
        )
    image = multiscales[0]
    levels = [_open_level(path, group, level) for level in image["datasets"]]
    number = _select_level(levels, shape_zyx)
    array = levels[number]
    axes = _read_axes(path, image, array.ndim)
    notes = []
    if len(multiscales) > 1:
        notes.append(f"the file describes {len(multiscales)} pyramids: the first is read")
    if number and shape_zyx is None:
        notes.append(
            f"level {number} of {len(levels)} is read: those before it are larger than one image "
            "may be here"
        )
    level = image["datasets"][number]
    _apply_transforms(axes, level.get("coordinateTransformations", []), notes)
    _apply_transforms(axes, image.get("coordinateTransformations", []), notes)
    channel_names = _read_channel_names(attributes)
    label_names = _read_label_names(attributes)
    return ZarrImage(array, axes, channel_names, label_names, tuple(notes))


def ome_attributes(group: ZarrNode) -> dict[str, Json]:
    """The OME metadata of a group: below the key "ome" since version 0.5."""
    attributes = dict(group.attrs)
    ome = attributes.get("ome", attributes)
    return dict(ome) if isinstance(ome, Mapping) else {}


def _enter_single_image(group: ZarrNode) -> ZarrNode:
    if ome_attributes(group).get("multiscales"):
        return group
    images = []
    for _, member in group.groups():
        if ome_attributes(member).get("multiscales"):
            images.append(member)
    if len(images) == 1:
        return images[0]
    return group


# --- levels --------------------------------------------------------------------------------------


def _open_level(path: Path, group: ZarrNode, level: Mapping[str, Json]) -> ZarrNode:
    inner = str(level["path"])
    if ".." in Path(inner).parts or Path(inner).is_absolute():
        raise ReadError(
            f"{path} names a level outside itself ({inner}); it is damaged or malicious"
        )
    return group[inner]


def _select_level(levels: Sequence[ZarrNode], shape_zyx: tuple[int, int, int] | None) -> int:
    """The level of a size if there is one, else the first that fits the limits, else the first,
    which is refused then.
    """
    if shape_zyx is not None:
        for number, level in enumerate(levels):
            shape = (1, 1, *level.shape)[-3:]
            if shape == shape_zyx:
                return number
    for number, level in enumerate(levels):
        if number and not _is_reduced(level, levels[number - 1]):
            return 0
        frame_pixels = math.prod(level.shape[-2:])
        size = math.prod(level.shape) * np.dtype(level.dtype).itemsize
        if frame_pixels <= MAX_FRAME_PIXELS and size <= MAX_BYTES:
            return number
    return 0


def _is_reduced(level: ZarrNode, before: ZarrNode) -> bool:
    """Whether the size of a level can be that of the one before, reduced."""
    pairs = zip(before.shape, level.shape, strict=True)
    return all(smaller <= larger <= _MAX_REDUCTION * smaller for larger, smaller in pairs)


# --- axes ----------------------------------------------------------------------------------------


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
    """An axis of OME-Zarr: an object with a name, a type and a unit, or a name alone."""
    if isinstance(entry, str):
        return Axis(entry.lower())
    name = _AXIS_TYPES.get(entry.get("type"), str(entry["name"]).lower())
    return Axis(name, str(entry.get("unit") or ""))


def _apply_transforms(
    axes: Sequence[Axis], transforms: Iterable[Mapping[str, Json]], notes: list[str]
) -> None:
    """Apply scales and translations, in their order, to the scale and shift of the axes. Behind
    one that is neither, no length is known.
    """
    for transform in transforms:
        kind = str(transform.get("type"))
        values = transform.get(kind)
        if kind == "identity":
            continue
        is_known = kind in ("scale", "translation") and isinstance(values, list)
        if not is_known or values is None or len(values) != len(axes):
            notes.append(
                f"the file places its pixels by a {kind} that is not read: millimetres are unknown"
            )
            for axis in axes:
                axis.unit = ""
            return
        for axis, value in zip(axes, map(float, values), strict=True):
            if kind == "scale":
                axis.scale *= value
                axis.shift *= value
            else:
                axis.shift += value


# --- channels and labels -------------------------------------------------------------------------


def _read_channel_names(attributes: Mapping[str, Json]) -> tuple[str, ...]:
    omero = attributes.get("omero")
    if not isinstance(omero, Mapping) or not isinstance(omero.get("channels"), list):
        return ()
    names = []
    for channel in omero["channels"]:
        label = channel.get("label") if isinstance(channel, Mapping) else None
        names.append(str(label or ""))
    return tuple(names)


def _read_label_names(attributes: Mapping[str, Json]) -> dict[int, str]:
    """Names of objects in the properties of a label image."""
    described = attributes.get("image-label")
    names: dict[int, str] = {}
    if not isinstance(described, Mapping):
        return names
    for entry in described.get("properties") or []:
        texts = [entry[key] for key in _NAME_KEYS if isinstance(entry.get(key), str)]
        if texts:
            names[int(entry["label-value"])] = texts[0]
    return names
