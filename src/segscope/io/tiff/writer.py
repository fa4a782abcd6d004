"""Label stacks as TIFF, and label TIFFs back to masks."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from segscope.errors import WriteError
from segscope.files import atomic
from segscope.io.base import reading
from segscope.io.label_frames import (
    format_names,
    iter_label_frames,
    label_type,
    masks_from_stack,
    place_on_grid,
    renumber_binary,
)
from segscope.io.orientation import ORIENTATION_TAG, SIDEWAYS, turn_as_stored
from segscope.io.tiff.reader import read_labels
from segscope.masks import Masks
from segscope.stack import Stack

WriterOptions = dict[str, Any]
"""Keyword arguments of tifffile's `write`."""

_CLASSIC_BYTES = 2**31
"""ImageJ's flavour ends at 4 GB; above half of that, labels are written as OME in a BigTIFF."""


def read_masks(path: Path, like: Stack | None = None) -> Masks:
    """Masks of a label TIFF, by its stored numbers.

    Where 255 is the only label it becomes object 1.
    """
    stack = read_labels(path)
    with reading(path, "a TIFF file with masks"):
        masks = masks_from_stack(stack)
        if "names" not in stack.meta:
            masks = renumber_binary(masks)
        if like is not None:
            # a TIFF states distances but no place in the world, so only shapes are compared
            masks = replace(masks, geometry=None)
        return place_on_grid(masks, like, path)


class LabelTiff:
    """Label stack with axes ZYX (TYX for videos) and spacing, deflated; ImageJ's flavour, or OME if
    the suffix says so or the stack is large.
    """

    name = "label TIFF"
    suffixes = (".tif", ".tiff", ".ome.tif", ".ome.tiff")

    def check(self, masks: Masks, path: Path, source: Stack | None) -> None:
        """Write the first two frames to memory."""
        masks = masks.on_stored_grid()
        flavour = _choose_flavour(masks, path, source)
        frames, rows, columns = masks.shape_zyx
        first = replace(masks, shape_zyx=(min(frames, 2), rows, columns), times_s=None)
        _write_tiff(io.BytesIO(), first, path, flavour)

    def write(self, masks: Masks, path: Path, source: Stack | None) -> None:
        masks = masks.on_stored_grid()
        with atomic(path) as part:
            _write_tiff(part, masks, path, _choose_flavour(masks, path, source))


@dataclass(frozen=True)
class _Flavour:
    """How a file is written.

    Attributes:
        is_large: as a BigTIFF.
        is_ome: with the description of OME, not of ImageJ.
        orientation: of the file that was read, 1 to 8.
    """

    is_large: bool
    is_ome: bool
    orientation: int

    @property
    def is_sideways(self) -> bool:
        """Whether rows are stored as columns."""
        return self.orientation in SIDEWAYS


def _choose_flavour(masks: Masks, path: Path, source: Stack | None) -> _Flavour:
    orientation = 1
    if source is not None:
        orientation = int(source.meta.get("orientation", 1))
    itemsize = label_type(masks).itemsize
    is_large = math.prod(masks.shape_zyx) * itemsize >= _CLASSIC_BYTES
    _, rows, columns = masks.shape_zyx
    if orientation in SIDEWAYS:
        columns = rows
    # ImageJ knows no integers of 32 bits, and takes a last axis of one column for samples
    beyond_imagej = is_large or itemsize > 2 or columns == 1
    is_ome = beyond_imagej or path.name.lower().endswith((".ome.tif", ".ome.tiff"))
    return _Flavour(is_large, is_ome, orientation)


def _write_tiff(file: Path | IO[bytes], masks: Masks, path: Path, flavour: _Flavour) -> None:
    import tifffile

    frames, rows, columns = masks.shape_zyx
    if flavour.is_sideways:
        rows, columns = columns, rows
    orientation = flavour.orientation
    if flavour.is_ome:
        options = _ome_options(masks, orientation)
    else:
        options = _imagej_options(masks, orientation)
    if orientation != 1:  # pixel for pixel the file that was read, and shown like it
        options["extratags"] = [(ORIENTATION_TAG, "H", 1, orientation, True)]
    stored = (turn_as_stored(frame, orientation) for frame in iter_label_frames(masks, path))
    try:
        with tifffile.TiffWriter(
            file, bigtiff=flavour.is_large, ome=flavour.is_ome, imagej=not flavour.is_ome
        ) as writer:
            writer.write(
                map(np.ascontiguousarray, stored),
                shape=(frames, rows, columns),
                dtype=label_type(masks),
                compression="zlib",
                photometric="minisblack",
                **options,
            )
    except ValueError as error:
        raise WriteError(f"{path} cannot be written as a TIFF file: {error}") from error


def _axes_of(masks: Masks) -> str:
    if masks.times_s is not None:
        return "TYX"
    return "ZYX"


def _mean_interval(masks: Masks) -> float | None:
    times = masks.times_s
    if times is None or len(times) < 2:
        return None
    return float((times[-1] - times[0]) / (len(times) - 1))


def _stored_spacing(masks: Masks, orientation: int) -> tuple[float, float, float] | None:
    """(z, y, x) distances in mm along the axes of the file."""
    if masks.geometry is None:
        return None
    z, y, x = masks.geometry.spacing_zyx_mm
    if orientation in SIDEWAYS:
        return (z, x, y)
    return (z, y, x)


def _imagej_options(masks: Masks, orientation: int) -> WriterOptions:
    metadata: dict[str, object] = {"axes": _axes_of(masks), "Info": format_names(masks.names)}
    interval = _mean_interval(masks)
    if interval is not None:
        metadata["finterval"] = interval
    spacing = _stored_spacing(masks, orientation)
    if spacing is None:
        return {"metadata": metadata}
    z, y, x = spacing
    metadata |= {"spacing": z, "unit": "mm"}
    return {"metadata": metadata, "resolution": (1 / x, 1 / y)}


def _ome_options(masks: Masks, orientation: int) -> WriterOptions:
    metadata: dict[str, object] = {
        "axes": _axes_of(masks),
        "Description": format_names(masks.names),
    }
    interval = _mean_interval(masks)
    if interval is not None:
        metadata |= {"TimeIncrement": interval, "TimeIncrementUnit": "s"}
    spacing = _stored_spacing(masks, orientation)
    if spacing is not None:
        for axis, value in zip("ZYX", spacing, strict=True):
            metadata |= {f"PhysicalSize{axis}": value, f"PhysicalSize{axis}Unit": "mm"}
    return {"metadata": metadata}


MASK_FORMATS = (LabelTiff(),)
