"""Frames of DICOM files to stacks: which belong together, in which order, and where they lie.

Order comes from positions along the slice normal, never from file names or instance numbers; what
cannot be ordered with certainty is refused with the numbers that show why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError, UsageError
from segscope.geometry import LPS_TO_RAS, Geometry
from segscope.io.base import ReadOptions
from segscope.io.byte_sources import choose_part
from segscope.io.dicom.headers import Frame
from segscope.stack import Kind

_SAME_PLACE_MM = 0.01
_LISTED = 12
_SPLITTERS = (
    "TemporalPositionIndex", "TemporalPositionIdentifier", "TriggerTime", "NominalCardiacTriggerDelayTime", "EchoTime",
    "DiffusionBValue", "FrameReferenceTime", "AcquisitionNumber", "ImageType", "AcquisitionTime", "ContentTime",
    "InstanceNumber",
)  # fmt: skip
_SECONDS = {"TriggerTime": 1e-3, "NominalCardiacTriggerDelayTime": 1e-3, "FrameReferenceTime": 1e-3,
            "AcquisitionTime": 1.0, "ContentTime": 1.0}  # fmt: skip


@dataclass(frozen=True)
class Arranged:
    """Frames in their final order, and what that order means."""

    frames: tuple[Frame, ...]
    kind: Kind
    geometry: Geometry | None
    times_s: NDArray[np.float64] | None
    meta: dict[str, Any] = field(default_factory=dict)


def group(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Frames that can form one stack: same series, size, colours, orientation and spacing; a clip
    is its own group.

    The groups come in the order of the listing that users choose from: series number, then UID,
        then first seen.
    """
    groups: dict[tuple[Any, ...], list[list[Frame]]] = {}
    for frame in frames:
        file = frame.file
        clip = None
        if file.frames > 1 and frame.position is None:
            clip = file.path
        key = (
            file.series_number,
            file.series_uid,
            file.rows,
            file.columns,
            file.samples,
            frame.position is None,
            clip,
        )
        for members in groups.setdefault(key, []):
            if _alike(members[0], frame):
                members.append(frame)
                break
        else:
            groups[key].append([frame])
    ordered = sorted(groups.items(), key=lambda item: item[0][:2])
    return [members for _, parts in ordered for members in parts]


def _alike(one: Frame, other: Frame) -> bool:
    """Same orientation and pixel spacing, up to what files round away."""
    for first, second, tolerance in (
        (one.orientation, other.orientation, 1e-3),
        (one.spacing, other.spacing, 1e-4),
    ):
        if (first is None) != (second is None):
            return False
        if first is not None and second is not None:
            scale = max(1.0, *map(abs, first))
            if any(abs(a - b) > tolerance * scale for a, b in zip(first, second, strict=True)):
                return False
    return True


def describe(members: Sequence[Frame]) -> str:
    """One line of a listing: series number, modality, description, count and size. No patient data."""
    file = members[0].file
    frame = members[0]
    parts = [f"series {file.series_number}", file.modality or "modality unknown"]
    parts += [f"{file.description!r}"] if file.description else []
    parts.append(f"{len(members)} frame{'s' * (len(members) > 1)} of {file.rows} x {file.columns}")
    if frame.orientation is not None and frame.position is not None:
        parts.append(_plane_name(frame))
    if file.frames > 1:
        parts.append(f"file {file.path.name}")
    return ", ".join(parts)


def _plane_name(frame: Frame) -> str:
    assert frame.orientation is not None
    normal = np.abs(np.cross(frame.orientation[:3], frame.orientation[3:]))
    name = ("sagittal", "coronal", "axial")[int(normal.argmax())]
    if normal.max() > 0.999:
        return name
    return f"oblique {name}"


def select(path: Path, groups: list[list[Frame]], wanted: str | None) -> list[Frame]:
    """The group that `wanted` names by its number in the listing, its SeriesInstanceUID or part of
    its description.

    Raises:
        UsageError: several groups and no choice, or a choice that fits none or several.
    """
    if wanted is None and len(groups) == 1:
        return groups[0]
    lines = [f"{number}: {describe(members)}" for number, members in enumerate(groups, start=1)]
    listing = "; ".join(lines[:_LISTED]) + (
        f"; and {len(lines) - _LISTED} more" if len(lines) > _LISTED else ""
    )
    advice = "Pass series= (--series) with the number, or with a part of the description that only one has."
    if wanted is None:
        raise UsageError(
            f"{path} holds {len(groups)} series or parts that are no single stack: {listing}. {advice}"
        )
    text = wanted.strip()
    found = [members for members in groups if members[0].file.series_uid == text]
    if not found and text.isdigit() and 1 <= int(text) <= len(groups):
        found = [groups[int(text) - 1]]
    if not found:
        found = [
            members
            for members in groups
            if text and text.lower() in members[0].file.description.lower()
        ]
    if len(found) != 1:
        raise UsageError(
            f"series {wanted!r} fits {len(found) or 'none'} of {path}: {listing}. {advice}"
        )
    return found[0]


def arrange(path: Path, members: list[Frame], options: ReadOptions) -> Arranged:
    """Sort one group and compute its geometry.

    Raises:
        UsageError: positions repeat evenly and no `volume` was chosen.
        ReadError: slices missing, doubled or unevenly spaced, or directions that are none.
    """
    members, notes = _without_copies(members)
    if members[0].position is None or members[0].orientation is None:
        arranged = _without_positions(path, members, options)
    else:
        arranged = _with_positions(path, members, options)
    arranged.meta["notes"] = (*notes, *arranged.meta.get("notes", ()))
    return arranged


def _without_copies(members: list[Frame]) -> tuple[list[Frame], tuple[str, ...]]:
    """Drop second copies of a file (same SOPInstanceUID at the same place)."""
    seen: dict[tuple[str, int], Frame] = {}
    kept = []
    copies = 0
    for frame in members:
        key = (frame.file.sop_uid, frame.index)
        if frame.file.sop_uid and key in seen and seen[key].position == frame.position:
            copies += 1
            continue
        seen.setdefault(key, frame)
        kept.append(frame)
    return kept, ((f"{copies} copies of files of this series were left out",) if copies else ())


def _without_positions(path: Path, members: list[Frame], options: ReadOptions) -> Arranged:
    """A clip, one image, or single images of one series in the order of their instance numbers."""
    file = members[0].file
    if options.volume is not None:
        raise UsageError(f"{path} has no choice of volume; leave the option volume out")
    meta: dict[str, Any] = {}
    if members[0].spacing:
        meta["pixel_spacing_mm"] = members[0].spacing
    if len(members) == 1:
        flat = None if not members[0].spacing else Geometry.from_spacing((1.0, *members[0].spacing))  # type: ignore[arg-type]
        return Arranged(tuple(members), "image", flat, None, meta)
    if file.frames > 1:
        times = None
        if file.times_s is not None:
            times = np.array(file.times_s)
        kind: Kind = "video" if file.is_clip else "volume"
        if kind == "volume":
            meta["notes"] = (
                "the file gives no positions of its frames: they are in stored order, without geometry",
            )
        return Arranged(tuple(members), kind, None, times, meta)
    numbers = [frame.order.get("InstanceNumber") for frame in members]
    if None in numbers or len(set(numbers)) != len(numbers):
        raise ReadError(
            f"{path} holds {len(members)} images of one series with neither positions nor distinct instance numbers, "
            "so their order is unknown; read them one by one"
        )
    meta["notes"] = (
        "the files give no positions: frames are in the order of their instance numbers",
    )
    ordered = sorted(members, key=lambda frame: float(frame.order["InstanceNumber"]))
    return Arranged(tuple(ordered), "video", None, None, meta)


def _with_positions(path: Path, members: list[Frame], options: ReadOptions) -> Arranged:
    assert members[0].orientation is not None
    row, column, normal = directions(path, members[0].orientation)
    places = _places(members, normal)
    repeats = sorted({len(place) for place in places})
    if repeats == [1]:
        if options.volume not in (None, 0):
            raise UsageError(f"{path} holds one volume; there is no volume {options.volume}")
        return _volume(path, [place[0] for place in places], row, column, normal)
    if len(repeats) > 1:
        raise ReadError(_uneven(path, places, normal))
    name, places = _split(path, places)
    if len(places) == 1 and options.volume is None:
        return _cine(places[0], name)
    values = ", ".join(str(frame.order[name]) for frame in places[0][:8])
    which = choose_part(path, options.volume, repeats[0], f"volumes at the same {len(places)} positions (they differ in "
                   f"{name}: {values}{' ...' if repeats[0] > 8 else ''})", "volume")  # fmt: skip
    arranged = _volume(path, [place[which] for place in places], row, column, normal)
    arranged.meta["volume"] = which
    arranged.meta["volumes_differ_in"] = name
    return arranged


def directions(path: Path, orientation: Sequence[float]) -> tuple[NDArray[np.float64], ...]:
    """Unit vectors along a row and along a column, and their normal, in LPS.

    Raises:
        ReadError: the six numbers are no pair of perpendicular unit vectors.
    """
    row = np.array(orientation[:3])
    column = np.array(orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1)) > 0.01 or abs(row @ column) > 0.01:
        raise ReadError(
            f"{path}: ImageOrientationPatient {tuple(orientation)} is no pair of perpendicular unit vectors, so the "
            "place of the slices is unknown; export the series again"
        )
    return row, column, np.cross(row, column)


def _places(members: list[Frame], normal: NDArray[np.float64]) -> list[list[Frame]]:
    """Frames at the same position together, ascending along the normal."""
    positions = np.array([frame.position for frame in members])
    heights = positions @ normal
    places: list[list[Frame]] = []
    last: list[NDArray[np.float64]] = []  # one position of each place at the current height
    for index in np.argsort(heights, kind="stable"):
        for number in range(len(places) - 1, -1, -1):
            if heights[index] - last[number] @ normal > _SAME_PLACE_MM:
                places.append([members[index]])
                last.append(positions[index])
                break
            if np.abs(positions[index] - last[number]).max() <= _SAME_PLACE_MM:
                places[number].append(members[index])
                break
        else:
            places.append([members[index]])
            last.append(positions[index])
    return places


def _uneven(path: Path, places: list[list[Frame]], normal: NDArray[np.float64]) -> str:
    usual = max({len(place) for place in places}, key=[len(place) for place in places].count)
    odd = [place for place in places if len(place) != usual]
    named = "; ".join(
        f"{len(place)} at {_height(place[0], normal):.2f} mm ({', '.join(frame.file.path.name for frame in place[:3])})"
        for place in odd[:4]
    )
    return (
        f"{path}: most of {len(places)} slice positions hold {usual} slice{'s' * (usual > 1)}, but {len(odd)} hold "
        f"another number: {named}. Slices are doubled or missing; remove the doubled files or export the series again."
    )


def _height(frame: Frame, normal: NDArray[np.float64]) -> float:
    return float(np.array(frame.position) @ normal)


def _split(path: Path, places: list[list[Frame]]) -> tuple[str, list[list[Frame]]]:
    """The value that tells apart the frames at each position, and each place sorted by it."""
    for name in _SPLITTERS:
        if all(
            len({frame.order.get(name) for frame in place} - {None}) == len(place)
            for place in places
        ):
            return name, [sorted(place, key=lambda frame: frame.order[name]) for place in places]
    raise ReadError(
        f"{path} holds {len(places[0])} slices at each of {len(places)} positions and nothing in the files tells them "
        f"apart ({', '.join(frame.file.path.name for frame in places[0][:3])}); remove the doubled files"
    )


def _cine(frames: list[Frame], name: str) -> Arranged:
    """Frames of one place over time."""
    times = None
    if name in _SECONDS:
        values = np.array([float(frame.order[name]) for frame in frames]) * _SECONDS[name]
        times = values - values[0]
    meta: dict[str, Any] = {
        "notes": (f"one position over time: frames are in the order of {name}",)
    }
    if frames[0].spacing:
        meta["pixel_spacing_mm"] = frames[0].spacing
    return Arranged(tuple(frames), "video", None, times, meta)


def _volume(
    path: Path,
    frames: list[Frame],
    row: NDArray[np.float64],
    column: NDArray[np.float64],
    normal: NDArray[np.float64],
) -> Arranged:
    positions = np.array([frame.position for frame in frames])
    meta: dict[str, Any] = {}
    if len(frames) == 1:
        first = positions[0]
        step = normal * (frames[0].thickness or 1.0)
    else:
        first, step = _line(positions)
        away = np.linalg.norm(positions - first - np.arange(len(frames))[:, None] * step, axis=1)
        _check_steps(
            path, frames, positions @ normal, float(away.max()), float(np.linalg.norm(step))
        )
        if away.max() > _SAME_PLACE_MM:
            meta["slice_deviation_mm"] = float(away.max())
        tilt = float(np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1, 1))))
        if tilt > 0.1:
            meta["gantry_tilt_deg"] = tilt
    kind: Kind = "volume" if len(frames) > 1 else "image"
    spacing = frames[0].spacing
    if spacing is None:
        meta["notes"] = ("the files give no PixelSpacing: millimetres are unknown",)
        return Arranged(tuple(frames), kind, None, None, meta)
    meta["pixel_spacing_mm"] = spacing
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = row * spacing[1], column * spacing[0], step
    affine[:3, 3] = first
    return Arranged(tuple(frames), kind, Geometry(LPS_TO_RAS @ affine), None, meta)


def _line(positions: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Start and step of the straight line that fits the positions best; files round them."""
    numbers = np.arange(len(positions)) - (len(positions) - 1) / 2
    middle = positions.mean(axis=0)
    step = (numbers[:, None] * (positions - middle)).sum(axis=0) / (numbers**2).sum()
    return middle + numbers[0] * step, step


def _check_steps(
    path: Path, frames: list[Frame], heights: NDArray[np.float64], away: float, length: float
) -> None:
    """Refuse slices that are not evenly spaced on one straight line.

    Args:
        path: named in messages.
        frames: in order.
        heights: of each along the normal, millimetres.
        away: largest distance of a slice from its place on the line, millimetres.
        length: of one step, millimetres.
    """
    gaps = np.diff(heights)
    if gaps.min() <= _SAME_PLACE_MM:
        raise ReadError(
            f"{path}: several slices lie side by side in one plane, which is no volume; read them one by one, or "
            "choose a part with the option series"
        )
    if away <= 0.05 + 0.05 * length:
        return
    usual = float(np.median(gaps))
    multiples = gaps / usual
    whole = np.round(multiples)
    if (np.abs(multiples - whole) < 0.1).all() and whole.min() >= 1 and whole.max() > 1:
        holes = np.flatnonzero(whole > 1)
        named = "; ".join(
            f"{int(whole[hole]) - 1} between {frames[hole].file.path.name} at {heights[hole]:.2f} mm and "
            f"{frames[hole + 1].file.path.name} at {heights[hole + 1]:.2f} mm" for hole in holes[:4]
        )  # fmt: skip
        raise ReadError(
            f"{path}: {int((whole - 1).sum())} slices are missing of a series with {usual:.3g} mm from slice to slice: "
            f"{named}. Fetch the complete series; sizes and distances would be wrong without them."
        )
    raise ReadError(
        f"{path}: the distance from slice to slice varies from {gaps.min():.3f} to {gaps.max():.3f} mm, slices "
        f"are off their line by up to {away:.2f} mm; one affine cannot describe that. Resample to even slices first."
    )
