"""Frames of DICOM files that belong together: the listing that users choose a series from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segscope.errors import UsageError, format_count
from segscope.io.dicom.image_checks import is_video
from segscope.io.dicom.records import Frame

_MAX_LISTED = 12
_ADVICE = (
    "Pass series= (--series) with the number, or with a part of the description that only one has."
)


class GroupKey(NamedTuple):
    """What the frames of a group have in common.

    Attributes:
        series: number and UID, by which a listing is sorted.
        origin: what only exports that mix up their files let differ within a series.
        size: rows, columns, samples.
        clip: the file of a clip, which is a group by itself.
    """

    series: tuple[int, str]
    origin: Origin
    size: tuple[int, int, int]
    has_position: bool
    clip: Path | None


class Origin(NamedTuple):
    """The scan of a frame and how its numbers are shown; equal within one volume."""

    patient_hash: str
    study_uid: str
    frame_of_reference: str
    modality: str | None
    colours: str


_DIFFERENCES = (
    "another patient",
    "another study",
    "another frame of reference",
    "another modality",
    "another photometric interpretation",
)
"""Of an `Origin`, field by field; identifiers of patients are never shown."""


def group_frames(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Frames that can form one stack: same patient, study, series, frame of reference, size,
    colours, orientation and spacing; a clip is a group by itself.

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
    keys = sorted(groups, key=lambda key: key.series)
    return list(chain.from_iterable(groups[key] for key in keys))


def _group_key(frame: Frame) -> GroupKey:
    file = frame.file
    has_position = frame.position is not None
    clip = None
    if (file.frames > 1 and not has_position) or is_video(file.syntax):
        clip = file.path
    colours = file.photometric
    if colours.startswith("YBR"):
        colours = "RGB"  # decoders convert it
    origin = Origin(
        file.patient_hash, file.study_uid, file.frame_of_reference, file.modality, colours
    )
    size = (*frame.size_hw, file.samples)
    return GroupKey((file.series_number, file.series_uid), origin, size, has_position, clip)


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
    rows, columns = frame.size_hw
    parts.append(f"{format_count(len(members), 'frame')} of {rows} x {columns}")
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
    lines = []
    for number, members in enumerate(groups, start=1):
        line = f"{number}: {describe_group(members)}"
        difference = _describe_difference(groups[: number - 1], members[0])
        if difference:
            line += f", {difference}"
        lines.append(line)
    listing = "; ".join(lines[:_MAX_LISTED])
    if len(lines) > _MAX_LISTED:
        listing += f"; and {len(lines) - _MAX_LISTED} more"
    return listing


def _describe_difference(earlier: Sequence[list[Frame]], frame: Frame) -> str:
    """Why a group is not part of the first group of its series, if its line does not show it."""
    key = _group_key(frame)
    for members in earlier:
        other = _group_key(members[0])
        if other.series == key.series:
            pairs = zip(_DIFFERENCES, other.origin, key.origin, strict=True)
            differences = [name for name, one, another in pairs if one != another]
            return " and ".join(differences)
    return ""


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
