"""The prompts in the parameters of MONAI Label's inference requests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from segscope.errors import UsageError
from segscope.prompts import Box, Point, Prompt
from segscope.serve.json_object import JsonObject, abbreviate, is_number, number_list

Dimension = Literal[2, 3]
Shape = tuple[int, int, int]
OBJECT_ID = 1  # a request speaks of one object


@dataclass(frozen=True)
class InferPrompts:
    """The prompts of a request.

    Attributes:
        within: first and last slice that the object may occupy, or None for all.
    """

    prompts: list[Prompt]
    within: tuple[int, int] | None


@dataclass(frozen=True)
class _Region:
    """A box on a slice, and the slices (first, last) that it spans."""

    box: Box
    span: tuple[int, int]


def read_prompts(params: JsonObject, shape_zyx: Shape, dimension: Dimension) -> InferPrompts:
    """Clicks [i, j, k] and a box, as voxel indexes (x, y, slice).

    Args:
        params: of the request.
        shape_zyx: of the image.
        dimension: 2 for the prompts of one slice, 3 for those of all slices.

    Raises:
        UsageError: malformed clicks, roi or slice.
    """
    prompts: list[Prompt] = []
    current_slice = None
    if dimension == 2:
        current_slice = _current_slice(params, shape_zyx[0])
    within = None
    roi = params.get("roi") or params.get("bbox")
    if roi:
        region = _read_region(roi, current_slice, shape_zyx)
        prompts.append(region.box)
        if dimension == 3:
            within = region.span
    prompts += _read_clicks(params.get("foreground"), current_slice, shape_zyx[0], positive=True)
    prompts += _read_clicks(params.get("background"), current_slice, shape_zyx[0], positive=False)
    if within is not None:
        prompts = [prompt for prompt in prompts if within[0] <= prompt.frame <= within[1]]
    return InferPrompts(prompts, within)


def _current_slice(params: JsonObject, frames: int) -> int:
    """The slice in view: as the client names it, else that of its first click."""
    value: object = params.get("slice")
    if value is None:
        value = 0
        clicks = _coordinates(params.get("foreground")) + _coordinates(params.get("background"))
        if clicks and len(clicks[0]) > 2:
            value = clicks[0][2]
    if not isinstance(value, (int, float)) or not 0 <= value < frames:
        raise UsageError(
            f"'slice' must be a number from 0 to {frames - 1}, got {abbreviate(value, 40)}"
        )
    return int(value)


def _read_clicks(
    value: object, current_slice: int | None, frames: int, *, positive: bool
) -> list[Point]:
    """Clicks on the current slice, or on all slices if there is none."""
    clicks = []
    for coordinates in _coordinates(value):
        frame = current_slice or 0
        if len(coordinates) > 2:
            frame = int(coordinates[2])
        if frames == 1:
            frame = min(frame, 0)  # clients count the slices of a single image differently
        elif current_slice not in (None, frame):
            continue
        x = coordinates[0] + 0.5
        y = coordinates[1] + 0.5
        clicks.append(Point(x, y, frame, OBJECT_ID, positive))
    return clicks


def _coordinates(value: object) -> list[list[float]]:
    if value is None:
        return []
    if isinstance(value, list):
        clicks = [click for item in value if (click := number_list(item, (2, 3)))]
        if len(clicks) == len(value):
            return clicks
    raise UsageError(f"clicks must be a list of voxel indexes [i, j, k], got {abbreviate(value)}")


def _read_region(value: object, current_slice: int | None, shape_zyx: Shape) -> _Region:
    """A box as pairs by axis (6 numbers, in any order within a pair) or as corners (4 numbers)."""
    numbers = number_list(value, (4, 6))
    if numbers is None:
        raise UsageError(
            "a roi must be 4 numbers (x0, y0, x1, y1) or 6 (pairs by axis), got "
            f"{abbreviate(value)}"
        )
    low = current_slice or 0
    high = low
    if len(numbers) == 4:
        x0, x1 = sorted((numbers[0], numbers[2]))
        y0, y1 = sorted((numbers[1], numbers[3]))
    else:
        x0, x1 = sorted(numbers[0:2])
        y0, y1 = sorted(numbers[2:4])
        z0, z1 = sorted(numbers[4:6])
        low = max(0, math.floor(z0))
        high = min(shape_zyx[0] - 1, math.floor(z1))
    if low > high:
        raise UsageError(
            f"the roi {abbreviate(value)} lies outside of the volume, which has slices 0 to "
            f"{shape_zyx[0] - 1}"
        )
    frame = current_slice
    if frame is None:
        frame = (low + high) // 2
    box = Box((x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)), frame, OBJECT_ID)
    return _Region(box, (low, high))


def number_pair(value: object, default: tuple[float, float]) -> tuple[float, float]:
    """A list of two numbers; the default for anything else."""
    if isinstance(value, list) and len(value) == 2:
        first, second = value
        if is_number(first) and is_number(second):
            return (float(first), float(second))
    return default
