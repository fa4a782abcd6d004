"""Frames of DICOM files to stacks: which belong together, in which order, and where they lie.

Order comes from positions along the slice normal, never from file names or instance numbers; what
cannot be ordered with certainty is refused with the numbers that show why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError, UsageError, list_first
from segscope.geometry import Geometry
from segscope.io.base import ReadOptions, choose_part
from segscope.io.dicom.headers import Frame
from segscope.io.dicom.slices import SliceAxes, SlicePosition, group_by_position, make_volume
from segscope.stack import Kind

_MAX_LISTED = 12
_ADVICE = (
    "Pass series= (--series) with the number, or with a part of the description that only one has."
)
_SPLITTERS = (
    "TemporalPositionIndex", "TemporalPositionIdentifier", "TriggerTime",
    "NominalCardiacTriggerDelayTime", "EchoTime", "DiffusionBValue", "FrameReferenceTime",
    "AcquisitionNumber", "ImageType", "AcquisitionTime", "ContentTime", "InstanceNumber",
)  # fmt: skip
"""Elements that may tell apart frames at one position, the most meaningful first."""
_SECONDS = {
    "TriggerTime": 1e-3,
    "NominalCardiacTriggerDelayTime": 1e-3,
    "FrameReferenceTime": 1e-3,
    "AcquisitionTime": 1.0,
    "ContentTime": 1.0,
}


GroupKey = tuple[Any, ...]
"""What the frames of a group have in common; begins with the series number and UID."""


@dataclass(frozen=True)
class SortedFrames:
    """Frames in their final order, and what that order means."""

    frames: tuple[Frame, ...]
    kind: Kind
    geometry: Geometry | None
    times_s: NDArray[np.float64] | None
    meta: dict[str, Any] = field(default_factory=dict)


# --- groups --------------------------------------------------------------------------------------


def group_frames(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Frames that can form one stack: same series, size, colours, orientation and spacing; a clip
    is a group by itself.

    The groups come in the order of the listing that users choose from: by series number, then UID,
    then first occurrence.
    """
    groups: dict[GroupKey, list[list[Frame]]] = {}
    for frame in frames:
        candidates = groups.setdefault(_group_key(frame), [])
        matching = [members for members in candidates if _is_alike(members[0], frame)]
        if matching:
            matching[0].append(frame)
        else:
            candidates.append([frame])
    keys = sorted(groups, key=lambda key: key[:2])  # of a listing: series number and UID
    return list(chain.from_iterable(groups[key] for key in keys))


def _group_key(frame: Frame) -> GroupKey:
    file = frame.file
    has_position = frame.position is not None
    clip = None
    if file.frames > 1 and not has_position:
        clip = file.path
    size = (file.rows, file.columns, file.samples)
    return (file.series_number, file.series_uid, *size, has_position, clip)


def _is_alike(one: Frame, other: Frame) -> bool:
    """Same orientation and pixel spacing, up to what files round away."""
    if not _is_close(one.orientation, other.orientation, 1e-3):
        return False
    return _is_close(one.spacing, other.spacing, 1e-4)


def _is_close(one: Sequence[float] | None, other: Sequence[float] | None, tolerance: float) -> bool:
    if one is None or other is None:
        return one is other
    limit = tolerance * max(1.0, *map(abs, one))
    return bool(np.abs(np.subtract(one, other)).max() <= limit)


def describe_group(members: Sequence[Frame]) -> str:
    """One line of a listing: series, modality, description, count and size. No patient data."""
    frame = members[0]
    file = frame.file
    parts = [f"series {file.series_number}", file.modality or "modality unknown"]
    if file.description:
        parts.append(repr(file.description))
    plural = "s" if len(members) > 1 else ""
    parts.append(f"{len(members)} frame{plural} of {file.rows} x {file.columns}")
    if frame.orientation is not None and frame.position is not None:
        parts.append(_plane_name(frame.orientation))
    if file.frames > 1:
        parts.append(f"file {file.path.name}")
    return ", ".join(parts)


def _plane_name(orientation: Sequence[float]) -> str:
    normal = np.abs(np.cross(orientation[:3], orientation[3:]))
    name = ("sagittal", "coronal", "axial")[int(normal.argmax())]
    if normal.max() > 0.999:
        return name
    return f"oblique {name}"


def select_group(path: Path, groups: list[list[Frame]], choice: str | None) -> list[Frame]:
    """The group that `choice` names by its number in the listing, its SeriesInstanceUID or part of
    its description.

    Raises:
        UsageError: several groups and no choice, or a choice that fits none or several.
    """
    if choice is None and len(groups) == 1:
        return groups[0]
    listing = _list_groups(groups)
    if choice is None:
        raise UsageError(
            f"{path} holds {len(groups)} series or parts that are no single stack: "
            f"{listing}. {_ADVICE}"
        )
    matching = _match_groups(groups, choice.strip())
    if len(matching) != 1:
        raise UsageError(
            f"series {choice!r} matches {len(matching) or 'none'} of {path}: {listing}. {_ADVICE}"
        )
    return matching[0]


def _list_groups(groups: Sequence[list[Frame]]) -> str:
    lines = [
        f"{number}: {describe_group(members)}" for number, members in enumerate(groups, start=1)
    ]
    listing = "; ".join(lines[:_MAX_LISTED])
    if len(lines) > _MAX_LISTED:
        listing += f"; and {len(lines) - _MAX_LISTED} more"
    return listing


def _match_groups(groups: Sequence[list[Frame]], choice: str) -> list[list[Frame]]:
    by_uid = [members for members in groups if members[0].file.series_uid == choice]
    if by_uid:
        return by_uid
    if choice.isdigit() and 1 <= int(choice) <= len(groups):
        return [groups[int(choice) - 1]]
    if not choice:
        return []
    text = choice.lower()
    return [members for members in groups if text in members[0].file.description.lower()]


# --- order ---------------------------------------------------------------------------------------


def sort_group(path: Path, members: list[Frame], options: ReadOptions) -> SortedFrames:
    """Sort one group and compute its geometry.

    Raises:
        UsageError: positions repeat evenly and no `volume` was chosen.
        ReadError: slices missing, doubled or unevenly spaced, or an invalid orientation.
    """
    members, notes = _drop_copies(members)
    if members[0].position is None or members[0].orientation is None:
        result = _sort_without_positions(path, members, options)
    else:
        result = _sort_by_position(path, members, members[0].orientation, options)
    result.meta["notes"] = (*notes, *result.meta.get("notes", ()))
    return result


def _drop_copies(members: list[Frame]) -> tuple[list[Frame], tuple[str, ...]]:
    """Drop second copies of a file (same SOPInstanceUID at the same place)."""
    first_copy: dict[tuple[str, int], Frame] = {}
    distinct = []
    for frame in members:
        original = first_copy.setdefault((frame.file.sop_uid, frame.index), frame)
        is_copy = original is not frame and original.position == frame.position
        if frame.file.sop_uid and is_copy:
            continue
        distinct.append(frame)
    copies = len(members) - len(distinct)
    if copies:
        return distinct, (f"{copies} copies of files of this series were left out",)
    return distinct, ()


def _sort_without_positions(path: Path, members: list[Frame], options: ReadOptions) -> SortedFrames:
    """A clip, one image, or single images of one series in the order of their instance numbers."""
    file = members[0].file
    spacing = members[0].spacing
    if options.volume is not None:
        raise UsageError(f"the option volume does not apply to {path}; leave it out")
    meta: dict[str, Any] = {}
    geometry = None
    if spacing is not None:
        meta["pixel_spacing_mm"] = spacing
        geometry = Geometry.from_spacing((1.0, *spacing))
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
        return _to_volume(path, [position.frames[0] for position in positions], axes)
    if len(counts) > 1:
        raise ReadError(_describe_uneven(path, positions))
    splitter = _find_splitter(path, positions)
    series = [
        sorted(position.frames, key=lambda frame: frame.order[splitter]) for position in positions
    ]
    if len(series) == 1 and options.volume is None:
        return _to_clip(path, series[0], axes, splitter)
    examples = list_first((frame.order[splitter] for frame in series[0]), 8)
    parts = f"volumes at the same {len(series)} positions (they differ in {splitter}: {examples})"
    volume = choose_part(path, options.volume, counts[0], parts, "volume")
    result = _to_volume(path, [frames[volume] for frames in series], axes)
    result.meta["volume"] = volume
    result.meta["volumes_differ_in"] = splitter
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


def _find_splitter(path: Path, positions: Sequence[SlicePosition]) -> str:
    """The element that tells apart the frames at each position."""
    for name in _SPLITTERS:
        if all(_is_split_by(position.frames, name) for position in positions):
            return name
    names = ", ".join(frame.file.path.name for frame in positions[0].frames[:3])
    raise ReadError(
        f"{path} holds {len(positions[0].frames)} slices at each of {len(positions)} positions, "
        f"and nothing in the files tells them apart ({names}); remove the doubled files"
    )


def _is_split_by(frames: Sequence[Frame], name: str) -> bool:
    values = {frame.order.get(name) for frame in frames}
    return None not in values and len(values) == len(frames)


def _to_clip(path: Path, frames: list[Frame], axes: SliceAxes, splitter: str) -> SortedFrames:
    """Frames of one place over time."""
    times = None
    if splitter in _SECONDS:
        values = np.array([float(frame.order[splitter]) for frame in frames]) * _SECONDS[splitter]
        times = values - values[0]
    geometry, meta = make_volume(path, frames[:1], axes)
    note = f"one position over time: frames are in the order of {splitter}"
    meta["notes"] = (note, *meta.get("notes", ()))
    return SortedFrames(tuple(frames), "video", geometry, times, meta)


def _to_volume(path: Path, frames: list[Frame], axes: SliceAxes) -> SortedFrames:
    geometry, meta = make_volume(path, frames, axes)
    kind: Kind = "volume" if len(frames) > 1 else "image"
    return SortedFrames(tuple(frames), kind, geometry, None, meta)
