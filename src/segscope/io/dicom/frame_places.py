"""Where each frame of a file lies: from its plane, or from the geometry that all frames share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from segscope.io.dicom.values import (
    Item,
    Vector,
    functional_group,
    parse_number,
    parse_vector,
    read_items,
)

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_GRID_OFFSETS = 0x3004000C  # GridFrameOffsetVector, as a frame increment pointer
_RECONSTRUCTED = ("RECON TOMO", "RECON GATED TOMO")


def read_place(data: Dataset, index: int, frames: int) -> tuple[Vector | None, Vector | None]:
    """Position and orientation of frame `index`, LPS millimetres and six direction cosines.

    Args:
        data: header of the file.
        index: of the frame, from 0.
        frames: how many the file holds.
    """
    plane = functional_group(data, index, "PlanePositionSequence")
    axes = functional_group(data, index, "PlaneOrientationSequence")
    position = parse_vector(plane.get("ImagePositionPatient"), 3)
    orientation = parse_vector(axes.get("ImageOrientationPatient"), 6)
    if frames == 1 or data.get("PerFrameFunctionalGroupsSequence"):
        return position, orientation
    offset = None
    if data.get("FrameIncrementPointer") == _GRID_OFFSETS:
        offset = _read_grid_offset(data, index, frames, position)
    elif _is_reconstructed(data):
        detector = _first_item(data, "DetectorInformationSequence")
        position = parse_vector(detector.get("ImagePositionPatient"), 3) or position
        orientation = parse_vector(detector.get("ImageOrientationPatient"), 6) or orientation
        offset = _read_slice_offset(data, index, frames)
    if position is None or orientation is None or offset is None:
        return None, orientation  # one position cannot be that of many frames
    normal = np.cross(orientation[:3], orientation[3:])
    x, y, z = np.add(position, offset * normal).tolist()
    return (x, y, z), orientation


def _first_item(data: Dataset, name: str) -> Item:
    items = read_items(data, name)
    return items[0] if items else {}


def _is_reconstructed(data: Dataset) -> bool:
    """Whether the frames of a nuclear medicine image are slices of one volume."""
    return any(str(part).upper() in _RECONSTRUCTED for part in read_items(data, "ImageType"))


def _read_grid_offset(
    data: Dataset, index: int, frames: int, position: Vector | None
) -> float | None:
    """Millimetres along the normal; PS3.3 C.8.8.3.2. Absolute places instead of offsets are those
    of a first value that is not 0.
    """
    offsets = parse_vector(data.get("GridFrameOffsetVector"), frames)
    if offsets is None or position is None:
        return None
    if offsets[0] not in (0.0, position[2]):
        return None
    return offsets[index] - offsets[0]


def _read_slice_offset(data: Dataset, index: int, frames: int) -> float | None:
    """Millimetres along the normal, against it where the spacing is negative; PS3.3 C.8.4.15."""
    numbers = parse_vector(data.get("SliceVector"), frames)
    spacing = parse_number(data.get("SpacingBetweenSlices"))
    if spacing is None:
        spacing = parse_number(data.get("SliceThickness"))
    if numbers is None or not spacing:
        return None
    return (numbers[index] - 1) * spacing
