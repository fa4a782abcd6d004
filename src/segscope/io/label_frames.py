"""Label frames and masks: streamed both ways, and put on the grid of the stack they belong to."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError, UsageError
from segscope.geometry import Geometry
from segscope.masks import Masks, Runs
from segscope.stack import Stack

log = logging.getLogger("segscope.io")


def label_type(masks: Masks) -> np.dtype[Any]:
    """The smallest unsigned type that holds every object id."""
    return np.dtype(np.uint8 if max(masks.object_ids, default=0) <= 255 else np.uint16)


def label_frames(masks: Masks, path: Path) -> Iterator[NDArray[Any]]:
    """Label maps frame by frame in `label_type`; says so when overlapping masks do not fit into one
    map.
    """
    kind = label_type(masks)
    said = False
    for index, labels in enumerate(masks.iter_labels()):
        areas = sum(masks.area(index, object_id) for object_id in masks.object_ids)
        if areas > np.count_nonzero(labels) and not said:
            said = True
            log.warning(
                "%s: objects overlap (first on frame %d); a label file holds one object a voxel, the higher number is "
                "kept. Write .seg.nrrd, .json or .dcm to keep all of them.", path, index,
            )  # fmt: skip
        yield labels.astype(kind)


def masks_from_frames(
    path: Path,
    frames: Iterable[NDArray[Any]],
    shape_zyx: tuple[int, int, int],
    *,
    names: Mapping[int, str] | None = None,
    geometry: Geometry | None = None,
) -> Masks:
    """Masks of label frames (row, column), holding one frame at a time.

    Raises:
        ReadError: a frame that holds no labels (colours, fractions, negative or too large numbers).
    """
    runs: dict[tuple[int, int], Runs] = {}
    found: dict[int, str] = {}
    for index, frame in enumerate(frames):
        if frame.ndim != 2:
            raise ReadError(
                f"{path} holds colours or channels, not labels; masks are one number a pixel"
            )
        try:
            part = Masks.from_labels(frame)
        except UsageError as error:
            raise ReadError(f"{path} holds no masks on frame {index}: {error}") from error
        runs.update({(index, object_id): part.runs[0, object_id] for _, object_id in part.runs})
        found.update(part.names)
    return Masks(
        shape_zyx, runs, dict(sorted({**found, **(names or {})}.items())), geometry=geometry
    )


def masks_of_stack(stack: Stack, names: Mapping[int, str] | None = None) -> Masks:
    """Masks of a stack whose values are labels."""
    path = stack.path or Path("this stack")
    frames = (stack[index] for index in range(len(stack)))
    found = names if names is not None else stack.meta.get("names")
    return masks_from_frames(path, frames, stack.shape_zyx, names=found, geometry=stack.geometry)


def one_bit(masks: Masks) -> Masks:
    """The same masks; where 255 is the only label, as images of one object have it, it becomes
    object 1.
    """
    if set(masks.names) != {255}:
        return masks
    return replace(
        masks, runs={(frame, 1): runs for (frame, _), runs in masks.runs.items()}, names={1: ""}
    )


def names_of(text: object) -> dict[int, str]:
    """Object names of the note that our writers leave in a file; nothing when there is none."""
    try:
        return {int(key): str(value) for key, value in json.loads(str(text))["names"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def note_of(names: Mapping[int, str]) -> str:
    """The note that `names_of` reads."""
    return json.dumps({"names": {str(key): names[key] for key in sorted(names)}}, ensure_ascii=True)


def on_grid_of(masks: Masks, like: Stack | None, path: Path) -> Masks:
    """Masks on the grid of `like`: as they are, or flipped, turned, cropped and padded by the two
    affines.

    Voxels are moved whole, never interpolated. `like` may run along another axis than the file.

    Raises:
        ReadError: the file lies on a grid that is not reached by whole voxels.
    """
    if like is None:
        return masks
    if masks.geometry is None or like.geometry is None:
        return _by_shape(masks, like, path)
    if masks.shape_zyx == like.shape_zyx and masks.geometry.same_grid(like.geometry):
        return replace(masks, geometry=like.geometry, times_s=like.times_s, axis=like.axis)
    step, shift = _whole_steps(like.geometry, masks, like, path)
    runs: dict[tuple[int, int], Runs] = {}
    for object_id in masks.object_ids:
        moved = _gather(masks.of(object_id), step, shift, like.shape_zyx)
        part = Masks.from_labels(moved.view(np.uint8))
        runs.update({(frame, object_id): value for (frame, _), value in part.runs.items()})
    return replace(masks, shape_zyx=like.shape_zyx, runs=runs, scores={}, geometry=like.geometry,
                   times_s=like.times_s, axis=like.axis)  # fmt: skip


def _by_shape(masks: Masks, like: Stack, path: Path) -> Masks:
    turned = masks
    if like.axis:
        shape = list(masks.shape_zyx)
        shape.insert(0, shape.pop(like.axis))
        turned = Masks.from_labels(np.moveaxis(masks.labels, like.axis, 0), names=masks.names)
    if turned.shape_zyx != like.shape_zyx:
        raise ReadError(
            f"{path} holds masks of {' x '.join(map(str, turned.shape_zyx))} (frame x row x column), the stack is "
            f"{' x '.join(map(str, like.shape_zyx))}; give the masks that belong to this stack"
        )
    return replace(turned, geometry=like.geometry, times_s=like.times_s, axis=like.axis)


def _whole_steps(
    wanted: Geometry, masks: Masks, like: Stack, path: Path
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Voxel index of the masks for voxel index (x, y, frame) of the stack: step @ index + shift, in
    whole numbers.
    """
    assert masks.geometry is not None
    between = np.linalg.inv(masks.geometry.affine) @ wanted.affine
    step = np.round(between[:3, :3]).astype(np.int64)
    shift = np.round(between[:3, 3]).astype(np.int64)
    corners = np.array(
        np.meshgrid(*[(0, length - 1) for length in like.shape_zyx[::-1]], indexing="ij")
    ).reshape(3, -1)
    off = between[:3, :3] @ corners + between[:3, 3:] - (step @ corners + shift[:, None])
    if not np.array_equal(np.abs(step).sum(axis=0), [1, 1, 1]) or np.abs(off).max() > 0.1:
        raise ReadError(
            f"{path} lies on another grid: {_describe(masks.shape_zyx, masks.geometry)}, the stack "
            f"{_describe(like.shape_zyx, wanted)}. Resample the masks onto the grid of the stack first."
        )
    return step, shift


def _describe(shape: tuple[int, ...], geometry: Geometry) -> str:
    spacing = " x ".join(f"{value:.3g}" for value in geometry.spacing_zyx_mm)
    first = ", ".join(f"{value:.1f}" for value in geometry.affine[:3, 3])
    return f"{' x '.join(map(str, shape))} voxels of {spacing} mm (frame x row x column) with the first at ({first}) mm"


def _gather(
    volume: NDArray[np.bool_],
    step: NDArray[np.int64],
    shift: NDArray[np.int64],
    shape_zyx: tuple[int, int, int],
) -> NDArray[np.bool_]:
    """`result[z, y, x] = volume` at step @ (x, y, z) + shift, False outside."""
    from_axis = [
        int(np.flatnonzero(step[:, column])[0]) for column in range(3)
    ]  # source axis (x, y, z) of each axis
    source = volume.transpose(2, 1, 0)  # (x, y, z)
    picks = []
    inside = []
    for column, source_axis in enumerate(from_axis):
        indices = step[source_axis, column] * np.arange(shape_zyx[2 - column]) + shift[source_axis]
        inside.append((indices >= 0) & (indices < source.shape[source_axis]))
        picks.append(np.clip(indices, 0, source.shape[source_axis] - 1))
    turned = source.transpose(from_axis)[np.ix_(*picks)] & inside[0][:, None, None]
    turned &= inside[1][None, :, None] & inside[2][None, None, :]
    return np.ascontiguousarray(turned.transpose(2, 1, 0))
