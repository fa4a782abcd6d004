"""Label frames and masks: streamed both ways, and put on the grid of the stack they belong to."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segscope.arrays import Pixels, PixelType
from segscope.errors import ReadError, UsageError
from segscope.geometry import Geometry
from segscope.masks import Masks, Runs
from segscope.stack import Stack

log = logging.getLogger("segscope.io")

_MAX_OFF_GRID = 0.1  # voxels, at the corners of the stack


def label_type(masks: Masks) -> PixelType:
    """The smallest unsigned type that holds every object id."""
    largest = max(masks.object_ids, default=0)
    return np.min_scalar_type(largest)


def iter_label_frames(masks: Masks, path: Path) -> Iterator[Pixels]:
    """Label maps frame by frame in `label_type`; warns once if overlapping objects lose pixels."""
    dtype = label_type(masks)
    has_warned = False
    for index, labels in enumerate(masks.iter_labels()):
        areas = sum(masks.area(index, object_id) for object_id in masks.object_ids)
        if areas > np.count_nonzero(labels) and not has_warned:
            has_warned = True
            log.warning(
                "%s: objects overlap (first on frame %d); a label file stores one object per "
                "voxel, and the higher object id wins. Write .seg.nrrd, .json or .dcm to keep "
                "all of them.",
                path,
                index,
            )
        yield labels.astype(dtype)


def warn_of_unit(path: Path, source: Stack | None) -> None:
    """Warn that a file in millimetres may be shown apart from a scan in another unit."""
    if source is not None and source.meta.get("length_unit_mm", 1) != 1:
        log.warning(
            "%s is in millimetres, but %s in another unit of length: programs that ignore units "
            "show them apart. Write .nrrd or .seg.nrrd, which keep the unit of the scan.",
            path,
            source.path,
        )


# --- labels to masks -----------------------------------------------------------------------------


def masks_from_frames(
    path: Path,
    frames: Iterable[Pixels],
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
    all_names: dict[int, str] = {}
    for index, frame in enumerate(frames):
        if frame.ndim != 2:
            raise ReadError(
                f"{path} holds colours or channels, not labels; masks have one number per pixel"
            )
        try:
            part = Masks.from_labels(frame)
        except UsageError as error:
            raise ReadError(f"{path} holds no masks on frame {index}: {error}") from error
        runs.update({(index, object_id): part.runs[0, object_id] for _, object_id in part.runs})
        all_names.update(part.names)
    all_names.update(names or {})
    return Masks(shape_zyx, runs, dict(sorted(all_names.items())), geometry=geometry)


def masks_from_stack(stack: Stack) -> Masks:
    """Masks of a stack whose values are labels."""
    path = stack.path or Path("this stack")
    frames = (stack[index] for index in range(len(stack)))
    names = stack.meta.get("names")
    return masks_from_frames(path, frames, stack.shape_zyx, names=names, geometry=stack.geometry)


def renumber_binary(masks: Masks) -> Masks:
    """The same masks; a single label 255, as images of one object have it, becomes object 1."""
    if set(masks.names) != {255}:
        return masks
    runs = {(frame, 1): frame_runs for (frame, _), frame_runs in masks.runs.items()}
    return replace(masks, runs=runs, names={1: ""})


def with_names(masks: Masks, names: Mapping[int, str]) -> Masks:
    """The same masks with the names that a file states."""
    return replace(masks, names=dict(sorted({**masks.names, **names}.items())))


def default_name(object_id: int) -> str:
    """The name of an object without one, where a format requires a name."""
    return f"object {object_id}"


def parse_names(note: object) -> dict[int, str]:
    """Object names in the note that our writers leave in a file; empty for any other text."""
    try:
        names = json.loads(str(note))["names"]
        return {int(key): str(value) for key, value in names.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def format_names(names: Mapping[int, str]) -> str:
    """The note that `parse_names` reads."""
    return json.dumps({"names": {str(key): names[key] for key in sorted(names)}}, ensure_ascii=True)


# --- masks on the grid of their stack ------------------------------------------------------------


def place_on_grid(masks: Masks, like: Stack | None, path: Path) -> Masks:
    """Masks on the grid of `like`: flipped, turned, cropped and padded by the affines if need be.

    Voxels are moved whole, never interpolated. `like` may run along another axis than the file.
    Where one of the two has no place in the world, size and spacing must be equal. Warns of objects
    that lie partly outside `like`.

    Raises:
        ReadError: the file lies on a grid that whole voxel steps do not reach, or all of its
            objects lie outside `like`.
    """
    if like is None:
        return masks
    if masks.geometry is None or like.geometry is None:
        return _place_by_shape(masks, like, path)
    if not (masks.geometry.has_place and like.geometry.has_place):
        return _place_by_size(masks, masks.geometry, like, path)
    if masks.shape_zyx == like.shape_zyx and masks.geometry.same_grid(like.geometry):
        return replace(masks, geometry=like.geometry, times_s=like.times_s, axis=like.axis)
    step, shift = _whole_voxel_steps(masks.geometry, like.geometry, masks, like, path)
    runs: dict[tuple[int, int], Runs] = {}
    for object_id in masks.object_ids:
        moved = _move_voxels(masks.of(object_id), step, shift, like.shape_zyx)
        part = Masks.from_labels(moved.view(np.uint8))
        runs.update({(frame, object_id): value for (frame, _), value in part.runs.items()})
    placed = replace(
        masks,
        shape_zyx=like.shape_zyx,
        runs=runs,
        scores={},
        geometry=like.geometry,
        times_s=like.times_s,
        axis=like.axis,
    )
    _check_cut_off(masks, placed, like, path)
    return placed


def check_covers(masks: Masks, like: Stack, path: Path) -> None:
    """Refuse masks whose grid does not hold every voxel of the grid of `like`.

    Nothing is checked where one of the two has no place in the world.

    Raises:
        ReadError: a part of `like` lies outside the grid of the masks, or between its voxels.
    """
    source = masks.geometry
    target = like.geometry
    if source is None or target is None or not (source.has_place and target.has_place):
        return
    step, shift = _whole_voxel_steps(source, target, masks, like, path)
    corners = step @ _corners(like) + shift[:, None]
    last = np.array(masks.shape_zyx[::-1])[:, None] - 1
    if (corners < 0).any() or (corners > last).any():
        raise ReadError(
            f"{path} covers the grid of the stack in part only: "
            f"{_compare_grids(source, target, masks, like)}. Give masks on the grid of this stack."
        )


def _check_cut_off(masks: Masks, placed: Masks, like: Stack, path: Path) -> None:
    """Refuse masks of which no voxel is left on the grid of `like`; warn if some are cut off."""
    before = _count_voxels(masks)
    after = _count_voxels(placed)
    cut = [object_id for object_id in before if after.get(object_id, 0) < before[object_id]]
    if not cut:
        return
    if not any(after.values()):
        assert masks.geometry is not None
        assert like.geometry is not None
        raise ReadError(
            f"{path} has no labelled voxel inside the stack: "
            f"{_compare_grids(masks.geometry, like.geometry, masks, like)}. Give the masks that "
            "belong to this stack."
        )
    log.warning(
        "%s: %d of %d labelled voxels lie outside the stack and are cut off (objects %s); check "
        "that the masks belong to this stack",
        path,
        sum(before.values()) - sum(after.values()),
        sum(before.values()),
        ", ".join(map(str, cut)),
    )


def _count_voxels(masks: Masks) -> dict[int, int]:
    """Voxels of each object that has any."""
    counts: dict[int, int] = {}
    for frame, object_id in masks.runs:
        area = masks.area(frame, object_id)
        counts[object_id] = counts.get(object_id, 0) + area
    return counts


def _place_by_size(masks: Masks, source: Geometry, like: Stack, path: Path) -> Masks:
    """Masks that fit in shape and spacing, where the file or the stack states no place."""
    target = like.geometry
    assert target is not None
    turned = source.transposed(like.axis)
    if not turned.same_grid(target):
        raise _other_grid_error(turned, target, masks, like, path)
    if target.has_place:
        log.warning(
            "%s states voxel sizes only, no place: its voxels are matched with those of the stack "
            "in their stored order",
            path,
        )
    return _place_by_shape(masks, like, path)


def _place_by_shape(masks: Masks, like: Stack, path: Path) -> Masks:
    turned = masks
    if like.axis:
        labels = np.moveaxis(masks.labels, like.axis, 0)
        turned = Masks.from_labels(labels, names=masks.names)
    if turned.shape_zyx != like.shape_zyx:
        raise ReadError(
            f"{path} holds masks of {_format_shape(turned.shape_zyx)} (frame x row x column), but "
            f"the stack is {_format_shape(like.shape_zyx)}; "
            "give the masks that belong to this stack"
        )
    return replace(turned, geometry=like.geometry, times_s=like.times_s, axis=like.axis)


def _whole_voxel_steps(
    source: Geometry,
    target: Geometry,
    masks: Masks,
    like: Stack,
    path: Path,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Voxel index of the masks for voxel index (x, y, frame) of the stack: step @ index + shift."""
    between = np.linalg.inv(source.affine) @ target.affine
    exact_step = between[:3, :3]
    exact_shift = between[:3, 3]
    step = np.round(exact_step).astype(np.int64)
    shift = np.round(exact_shift).astype(np.int64)
    corners = _corners(like)
    off = exact_step @ corners + exact_shift[:, None] - (step @ corners + shift[:, None])
    is_axis_swap = np.array_equal(np.abs(step).sum(axis=0), [1, 1, 1])
    if not is_axis_swap or np.abs(off).max() > _MAX_OFF_GRID:
        raise _other_grid_error(source, target, masks, like, path)
    return step, shift


def _corners(stack: Stack) -> NDArray[np.int64]:
    """(3, 8) voxel indices (x, y, frame) of the corners of a stack."""
    ends = [(0, length - 1) for length in stack.shape_zyx[::-1]]
    return np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1)


def _other_grid_error(
    source: Geometry,
    target: Geometry,
    masks: Masks,
    like: Stack,
    path: Path,
) -> ReadError:
    return ReadError(
        f"{path} lies on another grid: {_compare_grids(source, target, masks, like)}. Resample the "
        "masks onto the grid of the stack first."
    )


def _compare_grids(source: Geometry, target: Geometry, masks: Masks, like: Stack) -> str:
    return (
        f"{_describe_grid(masks.shape_zyx, source)}; the stack has "
        f"{_describe_grid(like.shape_zyx, target)}"
    )


def _format_shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _describe_grid(shape: tuple[int, ...], geometry: Geometry) -> str:
    spacing = " x ".join(f"{value:.3g}" for value in geometry.spacing_zyx_mm)
    first = ", ".join(f"{value:.1f}" for value in geometry.affine[:3, 3])
    return (
        f"{_format_shape(shape)} voxels of {spacing} mm (frame x row x column) "
        f"with the first at ({first}) mm"
    )


def _move_voxels(
    volume: NDArray[np.bool_],
    step: NDArray[np.int64],
    shift: NDArray[np.int64],
    shape_zyx: tuple[int, int, int],
) -> NDArray[np.bool_]:
    """`result[z, y, x] = volume` at step @ (x, y, z) + shift, False outside."""
    source = volume.transpose(2, 1, 0)  # (x, y, z)
    axes = []  # of the source, for each axis (x, y, z) of the result
    indices = []
    inside = []
    for target_axis in range(3):
        axis = int(np.flatnonzero(step[:, target_axis])[0])
        length = shape_zyx[2 - target_axis]
        index = step[axis, target_axis] * np.arange(length) + shift[axis]
        axes.append(axis)
        inside.append((index >= 0) & (index < source.shape[axis]))
        indices.append(np.clip(index, 0, source.shape[axis] - 1))
    moved = source.transpose(axes)[np.ix_(*indices)] & inside[0][:, None, None]
    moved &= inside[1][None, :, None] & inside[2][None, None, :]
    return np.ascontiguousarray(moved.transpose(2, 1, 0))
