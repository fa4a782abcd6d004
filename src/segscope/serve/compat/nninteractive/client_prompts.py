"""Prompts from the interactions of an nnInteractive client, which come in the axes of its array."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import starmap

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segscope.errors import UsageError
from segscope.prompts import Box, MaskPrompt, Point, Prompt
from segscope.serve.compat.nninteractive.packed_arrays import ClientArray
from segscope.serve.json_object import abbreviate
from segscope.serve.sessions.mask_patch import box_of

MAX_SLICES = 5  # slices prompted from a drawing that spans more
MAX_CLICKS = 5  # clicks taken from a drawing on one slice
Bounds = tuple[int, int]


@dataclass(frozen=True)
class PromptTarget:
    """Where prompts go.

    Attributes:
        object_id: object that they are for.
        axis: axis of the client's array that slices run along.
        positive: whether they mark the object, or what does not belong to it.
    """

    object_id: int
    axis: int
    positive: bool = True


def point_prompt(coordinates: object, target: PromptTarget) -> Point:
    """A click in the centre of the pixel that a voxel of the client's array is.

    Raises:
        UsageError: not three numbers.
    """
    voxel = _whole_numbers(coordinates, 3, "coordinates")
    frame = voxel.pop(target.axis)
    row, column = voxel
    return Point(column + 0.5, row + 0.5, frame, target.object_id, target.positive)


def box_prompt(pairs: object, target: PromptTarget) -> Prompt:
    """A box on its slice, or on the middle one of several.

    Negative boxes, and boxes one pixel thin, become a click in their centre.

    Raises:
        UsageError: not three pairs of numbers.
    """
    bounds = [(min(pair), max(pair)) for pair in _read_bounds(pairs)]
    low, high = bounds.pop(target.axis)
    frame = min((low + high) // 2, max(low, high - 1))
    (top, bottom), (left, right) = bounds
    if not target.positive or min(bottom - top, right - left) < 2:
        x = (left + right) / 2
        y = (top + bottom) / 2
        return Point(x, y, frame, target.object_id, target.positive)
    return Box((left, top, right, bottom), frame, target.object_id)


def place_drawing(
    drawing: NDArray[np.bool_], pairs: object, shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """A drawing on the grid of the client's array.

    Args:
        drawing: the whole array, or the part of it inside a box.
        pairs: the box, or None.
        shape: of the array.

    Raises:
        UsageError: the drawing does not fit into its box, or the box into the array.
    """
    bounds: list[Bounds] = [(0, length) for length in shape]
    if pairs is not None:
        bounds = _read_bounds(pairs)
    box_shape = tuple(high - low for low, high in bounds)
    is_inside = all(
        0 <= low < high <= length for (low, high), length in zip(bounds, shape, strict=True)
    )
    if not is_inside or drawing.shape != box_shape:
        raise UsageError(
            f"a drawing must have the shape of its box, which must lie inside the image {shape}; "
            f"got a drawing of shape {drawing.shape} for the box {bounds}"
        )
    placed = np.zeros(shape, bool)
    placed[tuple(starmap(slice, bounds))] = drawing
    return placed


def drawn_slices(drawing: NDArray[np.bool_], axis: int) -> dict[int, NDArray[np.bool_]]:
    """The slices of a drawing that are not empty, thinned out if there are many.

    Raises:
        UsageError: all of them are empty.
    """
    slices = np.moveaxis(drawing, axis, 0)
    frames: list[int] = np.flatnonzero(slices.any(axis=(1, 2))).tolist()
    if not frames:
        raise UsageError("the drawing is empty: no pixel is set")
    if len(frames) > MAX_SLICES:
        spread = np.linspace(0, len(frames) - 1, MAX_SLICES).round().astype(int)
        frames = [frames[index] for index in spread]
    return {frame: slices[frame] for frame in frames}


def click_prompts(region: NDArray[np.bool_], frame: int, target: PromptTarget) -> list[Prompt]:
    """Clicks in the interior of a region, far from each other."""
    depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    interior = np.argwhere(depth > depth.max() / 2)
    chosen = [int(np.argmin(interior @ (1, 1)))]
    distance = np.full(len(interior), np.inf)
    while len(chosen) < min(MAX_CLICKS, len(interior)):
        to_last = np.square(interior - interior[chosen[-1]]).sum(axis=1)
        distance = np.minimum(distance, to_last)
        chosen.append(int(distance.argmax()))
    return [
        Point(float(column) + 0.5, float(row) + 0.5, frame, target.object_id, target.positive)
        for row, column in interior[chosen]
    ]


def initial_prompts(
    labels: ClientArray, shape: tuple[int, ...], target: PromptTarget
) -> list[Prompt]:
    """An initial segmentation as one mask per slice.

    Raises:
        UsageError: its shape is not that of the image.
    """
    if labels.shape != shape:
        raise UsageError(
            f"an initial segmentation must have the shape of the image {shape}, got {labels.shape}"
        )
    slices = np.moveaxis(labels > 0, target.axis, 0)
    return [
        MaskPrompt(mask, frame, target.object_id)
        for frame, mask in enumerate(slices)
        if box_of(mask) is not None
    ]


def _read_bounds(pairs: object) -> list[Bounds]:
    if not isinstance(pairs, list) or len(pairs) != 3:
        raise UsageError(f"a box must be three pairs [low, high), got {abbreviate(pairs)}")
    bounds = []
    for pair in pairs:
        low, high = _whole_numbers(pair, 2, "each pair of a box")
        bounds.append((low, high))
    return bounds


def _whole_numbers(values: object, count: int, name: str) -> list[int]:
    if isinstance(values, list) and len(values) == count and all(map(_is_finite, values)):
        return list(map(int, values))
    raise UsageError(f"{name} must be {count} numbers, got {abbreviate(values)}")


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
