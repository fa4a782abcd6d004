"""Label stacks as TIFF, and label TIFFs back to masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from segscope.errors import WriteError
from segscope.files import atomic
from segscope.io.base import FitsAll
from segscope.io.byte_sources import reading
from segscope.io.label_frames import (
    label_frames,
    label_type,
    masks_of_stack,
    note_of,
    on_grid_of,
    one_bit,
)
from segscope.io.tiff.reader import read_labels
from segscope.masks import Masks
from segscope.stack import Stack

_CLASSIC_BYTES = 2**31
"""ImageJ's flavour ends at 4 GB; above half of that labels go to OME in a BigTIFF."""


def read_masks(path: Path, like: Stack | None = None) -> Masks:
    """Masks of a label TIFF, by its stored numbers. Where 255 is the only label it becomes object
    1.
    """
    stack = read_labels(path)
    with reading(path, "a TIFF file with masks"):
        masks = masks_of_stack(stack)
        if "names" not in stack.meta:
            masks = one_bit(masks)
        # a TIFF knows distances but no place in the world, so it cannot be compared with the grid
        # of `like`
        return on_grid_of(masks if like is None else replace(masks, geometry=None), like, path)


class LabelTiff(FitsAll):
    """Label stack with axes ZYX (TYX for videos) and spacing, deflated; ImageJ's flavour, or OME if
    asked or large.
    """

    name = "label TIFF"
    suffixes = (".tif", ".tiff", ".ome.tif", ".ome.tiff")

    def write(self, masks: Masks, path: Path, source: Stack | None) -> None:  # noqa: ARG002
        import tifffile

        masks = masks.on_stored_grid()
        z, y, x = masks.shape_zyx
        kind = label_type(masks)
        large = z * y * x * kind.itemsize >= _CLASSIC_BYTES
        ome = large or path.name.lower().endswith((".ome.tif", ".ome.tiff"))
        try:
            with (
                atomic(path) as part,
                tifffile.TiffWriter(part, bigtiff=large, ome=ome, imagej=not ome) as writer,
            ):
                writer.write(
                    label_frames(masks, path),
                    shape=(z, y, x),
                    dtype=kind,
                    compression="zlib",
                    photometric="minisblack",
                    **(_ome(masks) if ome else _imagej(masks)),
                )
        except ValueError as error:
            raise WriteError(f"{path} cannot be written as a TIFF file: {error}") from error


def _axes(masks: Masks) -> str:
    if masks.times_s is not None:
        return "TYX"
    return "ZYX"


def _interval(masks: Masks) -> float | None:
    times = masks.times_s
    if times is None or len(times) < 2:
        return None
    return float((times[-1] - times[0]) / (len(times) - 1))


def _imagej(masks: Masks) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": _axes(masks), "Info": note_of(masks.names)}
    interval = _interval(masks)
    if interval is not None:
        metadata |= {"finterval": interval}
    if masks.geometry is None:
        return {"metadata": metadata}
    z, y, x = masks.geometry.spacing_zyx_mm
    return {"metadata": {**metadata, "spacing": z, "unit": "mm"}, "resolution": (1 / x, 1 / y)}


def _ome(masks: Masks) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": _axes(masks), "Description": note_of(masks.names)}
    interval = _interval(masks)
    if interval is not None:
        metadata |= {"TimeIncrement": interval, "TimeIncrementUnit": "s"}
    if masks.geometry is not None:
        for axis, value in zip("ZYX", masks.geometry.spacing_zyx_mm, strict=True):
            metadata |= {f"PhysicalSize{axis}": value, f"PhysicalSize{axis}Unit": "mm"}
    return {"metadata": metadata}


MASK_FORMATS = (LabelTiff(),)
