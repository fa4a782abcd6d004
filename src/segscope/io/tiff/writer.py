"""Label stacks as TIFF, and label TIFFs back to masks."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

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

    def check(self, masks: Masks, path: Path, source: Stack | None) -> None:  # noqa: ARG002
        """Write the first two frames to memory."""
        masks = masks.on_stored_grid()
        frames, rows, columns = masks.shape_zyx
        first = replace(masks, shape_zyx=(min(frames, 2), rows, columns), times_s=None)
        _write_tiff(io.BytesIO(), first, path, is_large=_is_large(masks))

    def write(self, masks: Masks, path: Path, source: Stack | None) -> None:  # noqa: ARG002
        masks = masks.on_stored_grid()
        with atomic(path) as part:
            _write_tiff(part, masks, path, is_large=_is_large(masks))


def _is_large(masks: Masks) -> bool:
    return math.prod(masks.shape_zyx) * label_type(masks).itemsize >= _CLASSIC_BYTES


def _write_tiff(file: Path | IO[bytes], masks: Masks, path: Path, *, is_large: bool) -> None:
    import tifffile

    dtype = label_type(masks)
    is_ome = is_large or _needs_ome(masks, path)
    options = _ome_options(masks) if is_ome else _imagej_options(masks)
    try:
        with tifffile.TiffWriter(file, bigtiff=is_large, ome=is_ome, imagej=not is_ome) as writer:
            writer.write(
                iter_label_frames(masks, path),
                shape=masks.shape_zyx,
                dtype=dtype,
                compression="zlib",
                photometric="minisblack",
                **options,
            )
    except ValueError as error:
        raise WriteError(f"{path} cannot be written as a TIFF file: {error}") from error


def _needs_ome(masks: Masks, path: Path) -> bool:
    """Whether the suffix asks for OME, or ImageJ's flavour cannot hold the masks: integers of 32
    bits, or several frames of one column, whose last axis it takes for the samples of a pixel.
    """
    frames, _, columns = masks.shape_zyx
    if label_type(masks).itemsize > 2 or (columns == 1 and frames > 1):
        return True
    return path.name.lower().endswith((".ome.tif", ".ome.tiff"))


def _axes_of(masks: Masks) -> str:
    if masks.times_s is not None:
        return "TYX"
    return "ZYX"


def _mean_interval(masks: Masks) -> float | None:
    times = masks.times_s
    if times is None or len(times) < 2:
        return None
    return float((times[-1] - times[0]) / (len(times) - 1))


def _imagej_options(masks: Masks) -> WriterOptions:
    metadata: dict[str, object] = {"axes": _axes_of(masks), "Info": format_names(masks.names)}
    interval = _mean_interval(masks)
    if interval is not None:
        metadata["finterval"] = interval
    if masks.geometry is None:
        return {"metadata": metadata}
    z, y, x = masks.geometry.spacing_zyx_mm
    metadata |= {"spacing": z, "unit": "mm"}
    return {"metadata": metadata, "resolution": (1 / x, 1 / y)}


def _ome_options(masks: Masks) -> WriterOptions:
    metadata: dict[str, object] = {
        "axes": _axes_of(masks),
        "Description": format_names(masks.names),
    }
    interval = _mean_interval(masks)
    if interval is not None:
        metadata |= {"TimeIncrement": interval, "TimeIncrementUnit": "s"}
    if masks.geometry is not None:
        for axis, value in zip("ZYX", masks.geometry.spacing_zyx_mm, strict=True):
            metadata |= {f"PhysicalSize{axis}": value, f"PhysicalSize{axis}Unit": "mm"}
    return {"metadata": metadata}


MASK_FORMATS = (LabelTiff(),)
