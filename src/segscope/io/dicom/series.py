"""Frames of one DICOM series to a stack: in which order, and where they lie.

Order comes from positions along the slice normal, never from file names or instance numbers; what
cannot be ordered with certainty is refused with the numbers that show why.
"""

from __future__ import annotations

import filecmp
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError, UsageError
from segscope.geometry import Geometry
from segscope.io.base import ReadOptions, choose_part
from segscope.io.dicom.days import count_from_first_day
from segscope.io.dicom.pixels import decode_frame
from segscope.io.dicom.records import Frame
from segscope.io.dicom.slices import SliceAxes, SlicePosition, group_by_position, place_slices
from segscope.io.dicom.volumes import FILE_ORDER, SplitFrames, split_volumes
from segscope.stack import Kind

_TIMES = ("TriggerTime", "NominalCardiacTriggerDelayTime", "FrameReferenceTime", "AcquisitionTime")
"""Elements that state the time of a frame, even where another one orders the frames."""

_SECONDS = {
    "TriggerTime": 1e-3,
    "NominalCardiacTriggerDelayTime": 1e-3,
    "FrameReferenceTime": 1e-3,
    "AcquisitionTime": 1.0,
    "ContentTime": 1.0,
}


@dataclass(frozen=True)
class SortedFrames:
    """Frames in their final order, and what that order means.

    Attributes:
        even_steps: see `PlacedSlices`.
    """

    frames: tuple[Frame, ...]
    kind: Kind
    geometry: Geometry | None
    times_s: NDArray[np.float64] | None
    meta: dict[str, Any] = field(default_factory=dict)
    even_steps: NDArray[np.float64] | None = None


def sort_group(path: Path, members: list[Frame], options: ReadOptions) -> SortedFrames:
    """Sort one group and compute its geometry.

    Raises:
        UsageError: positions repeat evenly and no `volume` was chosen.
        ReadError: slices missing, doubled or unevenly spaced, or an invalid orientation.
    """
    members, copy_notes = _drop_copies(members)
    members, day_notes = count_from_first_day(members)
    if members[0].position is None or members[0].orientation is None:
        result = _sort_without_positions(path, members, options)
    else:
        result = _sort_by_position(path, members, members[0].orientation, options)
    result.meta["notes"] = (*copy_notes, *day_notes, *result.meta.get("notes", ()))
    return result


def _drop_copies(members: list[Frame]) -> tuple[list[Frame], tuple[str, ...]]:
    """Drop second copies of a file: the same image at the same place and time."""
    originals: dict[object, Frame] = {}
    distinct = []
    for frame in members:
        identity = (frame.file.sop_uid, frame.index, frame.tile, frame.position)
        order = frozenset(frame.order.items())
        original = originals.setdefault((identity, order), frame)
        if frame.file.sop_uid and original is not frame and _has_same_pixels(original, frame):
            continue
        distinct.append(frame)
    copies = len(members) - len(distinct)
    if copies:
        return distinct, (f"{copies} copies of files of this series were left out",)
    return distinct, ()


def _has_same_pixels(one: Frame, other: Frame) -> bool:
    if filecmp.cmp(one.file.path, other.file.path, shallow=False):
        return True
    return np.array_equal(decode_frame(one.file, one.index), decode_frame(other.file, other.index))


def _sort_without_positions(path: Path, members: list[Frame], options: ReadOptions) -> SortedFrames:
    """A clip, one image, or single images of one series in the order of their instance numbers."""
    file = members[0].file
    if options.volume is not None:
        raise UsageError(f"the option volume does not apply to {path}; leave it out")
    geometry, meta = measure_pixels(members[0])
    if len(members) == 1:
        return SortedFrames(tuple(members), "image", geometry, None, meta)
    if file.frames > 1:
        return _stored_order(members, geometry, meta)
    numbers = [frame.order.get("InstanceNumber") for frame in members]
    if None in numbers or len(set(numbers)) != len(numbers):
        raise ReadError(
            f"{path} holds {len(members)} images of one series with neither positions nor distinct "
            "instance numbers, so their order is unknown; read them one by one"
        )
    meta["notes"] = (
        "the files have no positions: frames are in the order of their instance numbers",
    )
    ordered = sorted(members, key=lambda frame: float(frame.order["InstanceNumber"]))
    return SortedFrames(tuple(ordered), "video", geometry, None, meta)


def measure_pixels(frame: Frame) -> tuple[Geometry | None, dict[str, Any]]:
    """Geometry of a frame without a place, from the size of its pixels, and the facts to note."""
    if frame.spacing is None:
        return None, {}
    row_mm, column_mm = frame.spacing
    geometry = Geometry.from_spacing((1.0, row_mm, column_mm))
    return geometry, {"pixel_spacing_mm": frame.spacing}


def _stored_order(
    members: list[Frame], geometry: Geometry | None, meta: dict[str, Any]
) -> SortedFrames:
    """Frames of one file without positions; `geometry` is that of each of them."""
    file = members[0].file
    times = None
    if file.times_s is not None:
        times = np.array(file.times_s)
    if file.is_clip:
        return SortedFrames(tuple(members), "video", geometry, times, meta)
    meta["notes"] = (
        "the file has no positions for its frames: they are in stored order, without geometry",
    )
    return SortedFrames(tuple(members), "volume", None, times, meta)


def _sort_by_position(
    path: Path, members: list[Frame], orientation: Sequence[float], options: ReadOptions
) -> SortedFrames:
    axes = SliceAxes.of(path, orientation)
    positions = group_by_position(members, axes)
    counts = sorted({len(position.frames) for position in positions})
    if counts == [1]:
        if options.volume not in (None, 0):
            raise UsageError(f"{path} holds one volume; there is no volume {options.volume}")
        return _to_volume(path, [position.frames[0] for position in positions], axes, options)
    if len(counts) > 1:
        raise ReadError(_describe_uneven(path, positions))
    split = split_volumes(path, positions)
    if len(positions) == 1 and options.volume is None:
        return _to_clip(path, split, axes)
    parts = f"volumes at the same {len(positions)} positions ({split.describe()})"
    volume = choose_part(path, options.volume, counts[0], parts, "volume")
    result = _to_volume(path, [frames[volume] for frames in split.positions], axes, options)
    result.meta["volume"] = volume
    result.meta["volumes_differ_in"] = " and ".join(split.names)
    result.meta["notes"] = (*split.notes, *result.meta.get("notes", ()))
    return result


def _describe_uneven(path: Path, positions: Sequence[SlicePosition]) -> str:
    counts = [len(position.frames) for position in positions]
    usual = max(set(counts), key=counts.count)
    odd = [position for position in positions if len(position.frames) != usual]
    details = []
    for position in odd[:4]:
        names = ", ".join(frame.file.path.name for frame in position.frames[:3])
        details.append(f"{len(position.frames)} at {position.height:.2f} mm ({names})")
    plural = "s" if usual > 1 else ""
    return (
        f"{path}: most of {len(positions)} slice positions hold {usual} slice{plural}, but "
        f"{len(odd)} hold another number: {'; '.join(details)}. Slices are doubled or missing; "
        "remove the doubled files or export the series again."
    )


def _to_clip(path: Path, split: SplitFrames, axes: SliceAxes) -> SortedFrames:
    """Frames of one place over time."""
    frames = split.positions[0]
    candidates = (_read_times(frames, name) for name in (split.names[0], *_TIMES))
    times = next((times for times in candidates if times is not None), None)
    placed = place_slices(path, frames[:1], axes)
    note = f"one position over time: frames are in the order of {' and '.join(split.names)}"
    if split.names == (FILE_ORDER,):
        note = f"one position over time: frames are in {FILE_ORDER}"
    placed.meta["notes"] = (note, *split.notes, *placed.meta.get("notes", ()))
    return SortedFrames(tuple(frames), "video", placed.geometry, times, placed.meta)


def _read_times(frames: Sequence[Frame], name: str) -> NDArray[np.float64] | None:
    """Seconds since the first frame, if an element states them and they increase."""
    if name not in _SECONDS or any(name not in frame.order for frame in frames):
        return None
    values = np.array([float(frame.order[name]) for frame in frames]) * _SECONDS[name]
    if (np.diff(values) <= 0).any():
        return None
    return values - values[0]


def _to_volume(
    path: Path, frames: list[Frame], axes: SliceAxes, options: ReadOptions
) -> SortedFrames:
    placed = place_slices(path, frames, axes, resample=options.resample_slices)
    kind: Kind = "volume" if len(frames) > 1 else "image"
    return SortedFrames(tuple(frames), kind, placed.geometry, None, placed.meta, placed.even_steps)
