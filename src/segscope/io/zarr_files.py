"""OME-Zarr 0.4 and 0.5 (and plain zarr arrays) in, chunk by chunk. The metadata are JSON and are
read here.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope._optional import require
from segscope.errors import ReadError, UsageError
from segscope.geometry import Geometry
from segscope.io.base import ReadOptions, check_declared
from segscope.io.byte_sources import choose, reading, refuse_options
from segscope.io.frame_source import LazyFrames
from segscope.stack import Kind, Stack

_MARKS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
_MILLIMETRES = {"meter": 1e3, "centimeter": 10.0, "millimeter": 1.0, "micrometer": 1e-3, "nanometer": 1e-6,
                "angstrom": 1e-7, "picometer": 1e-9}  # fmt: skip
_SECONDS = {"second": 1.0, "millisecond": 1e-3, "microsecond": 1e-6, "minute": 60.0, "hour": 3600.0}
_WHAT = "an OME-Zarr image"


class OmeZarr:
    """A zarr folder; of an OME-Zarr pyramid the level of full resolution."""

    name = "OME-Zarr"
    suffixes = (".zarr",)

    def recognises(self, path: Path) -> bool:
        return path.is_dir() and any((path / mark).is_file() for mark in _MARKS)

    def read(self, path: Path, options: ReadOptions) -> Stack:
        """Open an image; frames are loaded when asked for.

        Raises:
            UsageError: several volumes or images and no choice, or a choice that fits none.
            ReadError: damaged, or axes that are no image, volume or video.
            MissingExtra: zarr is not installed.
        """
        zarr = require("zarr", "zarr", "read OME-Zarr")
        refuse_options(path, options, "volume", "channel")
        with reading(path, _WHAT):
            node = zarr.open(str(path), mode="r")
            array, axes, scale, shift, units = _image(path, node)
            source = ZarrFrames(path, array, axes, options)
            return _stack(
                path, source, dict(zip(axes, zip(scale, shift, units, strict=True), strict=True))
            )


def _image(path: Path, node: Any) -> tuple[Any, list[str], list[float], list[float], list[str]]:
    """Array of full resolution, axis names, and scale, shift and unit of each axis."""
    if not hasattr(node, "keys"):
        if node.ndim not in (2, 3):
            raise ReadError(
                f"{path} is a zarr array with {node.ndim} axes; without OME metadata 2 or 3 can be read"
            )
        return (
            node,
            ["z", "y", "x"][-node.ndim :],
            [1.0] * node.ndim,
            [0.0] * node.ndim,
            [""] * node.ndim,
        )
    attributes = dict(node.attrs)
    described = attributes.get("ome", attributes).get("multiscales")
    if not described:
        inside = ", ".join(sorted(node.keys())[:8])
        raise UsageError(
            f"{path} is a zarr group without an image of its own; name one inside it ({inside})"
        )
    image = described[0]
    axes = [axis if isinstance(axis, str) else str(axis["name"]) for axis in image.get("axes", [])]
    level = image["datasets"][0]
    inner = str(level["path"])
    if ".." in Path(inner).parts or Path(inner).is_absolute():
        raise ReadError(
            f"{path} names a level outside itself ({inner}); it is damaged or made to deceive"
        )
    array = node[inner]
    axes = axes or ["t", "c", "z", "y", "x"][-array.ndim :]
    known = len(set(axes)) == len(axes) == array.ndim and set(axes) <= set("tczyx")
    if not known or axes[-2:] != ["y", "x"]:
        raise ReadError(
            f"{path} has axes {axes} for {array.ndim} dimensions; wanted are some of t, c, z and then y, x"
        )
    units = [
        str(axis.get("unit", "")) if isinstance(axis, dict) else ""
        for axis in image.get("axes", [])
    ]
    scale = [1.0] * len(axes)
    shift = [0.0] * len(axes)
    for step in (
        *level.get("coordinateTransformations", []),
        *image.get("coordinateTransformations", []),
    ):
        factors = [float(value) for value in step.get(step.get("type"), [])] or None
        if step.get("type") == "scale" and factors and len(factors) == len(axes):
            scale = [a * b for a, b in zip(scale, factors, strict=True)]
            shift = [a * b for a, b in zip(shift, factors, strict=True)]
        elif step.get("type") == "translation" and factors and len(factors) == len(axes):
            shift = [a + b for a, b in zip(shift, factors, strict=True)]
    return array, axes, scale, shift, units or [""] * len(axes)


class ZarrFrames(LazyFrames):
    """Frames (row, column[, channel]) of a zarr array as a `FrameSource`; a frame loads the chunks
    it touches.

    Args:
        path: named in messages.
        array: the zarr array.
        axes: names of its axes.
        options: which time point and channel.
    """

    def __init__(self, path: Path, array: Any, axes: list[str], options: ReadOptions) -> None:
        self.path = path
        self.axes = axes
        self._array = array
        if np.dtype(array.dtype).kind not in "buif":
            raise ReadError(f"{path} holds {array.dtype}; images are numbers")
        size = dict(zip(axes, array.shape, strict=True))
        check_declared(
            path, (math.prod(array.shape[:-2]), *array.shape[-2:]), np.dtype(array.dtype).itemsize
        )
        check_declared(path, (1, 1, *array.chunks), np.dtype(array.dtype).itemsize)
        self._fixed: dict[str, int] = {}
        self.running = "z" if size.get("z", 1) > 1 or size.get("t", 1) == 1 else "t"
        if self.running == "z" and "t" in size:
            self._fixed["t"] = choose(path, options.volume, size["t"], "time points", "volume")
        elif options.volume is not None:
            raise UsageError(f"{path} has no choice of volume; leave the option volume out")
        if self.running == "t" and "z" in size:
            self._fixed["z"] = 0
        channels = size.get("c", 1)
        if "c" in size and (channels == 1 or options.channel is not None):
            self._fixed["c"] = choose(path, options.channel, channels, "channels", "channel")
        elif options.channel not in (None, 0):
            raise UsageError(f"{path} has one channel; there is no channel {options.channel}")
        several = (channels,) if "c" in size and "c" not in self._fixed else ()
        shape = (size.get(self.running, 1), size["y"], size["x"], *several)
        super().__init__(shape, np.dtype(array.dtype).newbyteorder("="))

    def read_frame(self, index: int) -> NDArray[Any]:
        chosen: dict[str, Any] = {**self._fixed, self.running: index}
        places = tuple(chosen.get(axis, slice(None)) for axis in self.axes)
        with reading(self.path, _WHAT):
            pixels = np.asarray(self._array[places]).astype(self.dtype, copy=False)
        if pixels.ndim == 3:
            return np.ascontiguousarray(np.moveaxis(pixels, 0, -1))
        return pixels


def _stack(path: Path, source: ZarrFrames, axes: dict[str, tuple[float, float, str]]) -> Stack:
    meta: dict[str, Any] = {"notes": ()}
    geometry: Geometry | None = None
    times: NDArray[np.float64] | None = None
    size = [axes.get(axis, (1.0, 0.0, "")) for axis in "xyz"]
    known = [axes[axis][2] in _MILLIMETRES for axis in "xyz" if axis in axes]
    if all(known) and all(math.isfinite(scale) and scale > 0 for scale, _, _ in size):
        millimetres = [_MILLIMETRES.get(unit, 1.0) for _, _, unit in size]
        affine = np.diag(
            [*(scale * unit for (scale, _, _), unit in zip(size, millimetres, strict=True)), 1.0]
        )
        affine[:3, 3] = [
            shift * unit for (_, shift, _), unit in zip(size, millimetres, strict=True)
        ]
        geometry = Geometry(affine)
    else:
        meta["notes"] = ("the file names no unit of length for its axes: millimetres are unknown",)
    kind: Kind = "image" if len(source) == 1 else "volume"
    if source.running == "t":
        kind = "video"
        geometry = None
        scale, _, unit = axes["t"]
        if unit in _SECONDS and scale > 0:
            times = np.arange(len(source), dtype=np.float64) * (scale * _SECONDS[unit])
        if "y" in axes and all(known):
            meta["pixel_spacing_mm"] = tuple(
                axes[axis][0] * _MILLIMETRES[axes[axis][2]] for axis in "yx"
            )
    return Stack(source, kind, "microscopy", geometry, times, path, meta=meta)


FORMATS = (OmeZarr(),)
