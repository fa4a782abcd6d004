"""Where slices lie: their positions along the normal, even steps between them, and the affine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError
from segscope.geometry import LPS_TO_RAS, Geometry
from segscope.io.dicom.headers import Frame

Vector3 = NDArray[np.float64]
"""Three numbers, LPS millimetres or directions."""

_SAME_PLACE_MM = 0.01
_MIN_TILT_DEG = 0.1


@dataclass(frozen=True, eq=False)
class SliceAxes:
    """Unit vectors along a row and along a column of a slice, and their normal, in LPS."""

    row: Vector3
    column: Vector3
    normal: Vector3

    @classmethod
    def of(cls, path: Path, orientation: Sequence[float]) -> SliceAxes:
        """The axes of an ImageOrientationPatient.

        Raises:
            ReadError: the six numbers are not two perpendicular unit vectors.
        """
        row = np.array(orientation[:3])
        column = np.array(orientation[3:])
        off_unit = max(abs(np.linalg.norm(row) - 1), abs(np.linalg.norm(column) - 1))
        if off_unit > 0.01 or abs(row @ column) > 0.01:
            raise ReadError(
                f"{path}: ImageOrientationPatient {tuple(orientation)} is not a pair of "
                "perpendicular unit vectors, so the place of the slices is unknown; "
                "export the series again"
            )
        return cls(row, column, np.cross(row, column))


@dataclass(eq=False)
class SlicePosition:
    """Frames at one position.

    Attributes:
        place: of the first of them, LPS millimetres.
        height: of the first of them along the normal, millimetres.
        frames: all of them.
    """

    place: Vector3
    height: float
    frames: list[Frame]


def group_by_position(frames: Sequence[Frame], axes: SliceAxes) -> list[SlicePosition]:
    """Frames at the same position together, ascending along the normal."""
    places = np.array([frame.position for frame in frames])
    heights = places @ axes.normal
    positions: list[SlicePosition] = []
    for index in np.argsort(heights, kind="stable"):
        place = places[index]
        height = float(heights[index])
        position = _find_position(positions, place, height)
        if position is None:
            positions.append(SlicePosition(place, height, [frames[index]]))
        else:
            position.frames.append(frames[index])
    return positions


def _find_position(
    positions: Sequence[SlicePosition], place: Vector3, height: float
) -> SlicePosition | None:
    """The position of a place among those at its height, which are the last ones."""
    for position in reversed(positions):
        if height - position.height > _SAME_PLACE_MM:
            return None
        if np.abs(place - position.place).max() <= _SAME_PLACE_MM:
            return position
    return None


def make_volume(
    path: Path, frames: Sequence[Frame], axes: SliceAxes
) -> tuple[Geometry | None, dict[str, Any]]:
    """Geometry of slices in their order along the normal, and facts about it.

    Raises:
        ReadError: slices missing or unevenly spaced.
    """
    places = np.array([frame.position for frame in frames])
    meta: dict[str, Any] = {}
    if len(frames) == 1:
        first = places[0]
        step = axes.normal * (frames[0].thickness or 1.0)
    else:
        first, step = _fit_line(places)
        line = first + np.arange(len(frames))[:, None] * step
        deviation = float(np.linalg.norm(places - line, axis=1).max())
        _check_steps(path, frames, places @ axes.normal, deviation, float(np.linalg.norm(step)))
        if deviation > _SAME_PLACE_MM:
            meta["slice_deviation_mm"] = deviation
        cosine = step @ axes.normal / np.linalg.norm(step)
        tilt = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
        if tilt > _MIN_TILT_DEG:
            meta["gantry_tilt_deg"] = tilt
    spacing = frames[0].spacing
    if spacing is None:
        meta["notes"] = ("the files have no PixelSpacing: millimetres are unknown",)
        return None, meta
    meta["pixel_spacing_mm"] = spacing
    affine = np.eye(4)
    affine[:3, 0] = axes.row * spacing[1]
    affine[:3, 1] = axes.column * spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = first
    return Geometry(LPS_TO_RAS @ affine), meta


def _fit_line(places: NDArray[np.float64]) -> tuple[Vector3, Vector3]:
    """Start and step of the straight line that fits the places best; files round them."""
    numbers = np.arange(len(places)) - (len(places) - 1) / 2
    middle = places.mean(axis=0)
    step = (numbers[:, None] * (places - middle)).sum(axis=0) / (numbers**2).sum()
    return middle + numbers[0] * step, step


def _check_steps(
    path: Path,
    frames: Sequence[Frame],
    heights: NDArray[np.float64],
    deviation: float,
    step_mm: float,
) -> None:
    """Refuse slices that are not evenly spaced on one straight line.

    Args:
        path: named in messages.
        frames: in order.
        heights: of each along the normal, millimetres.
        deviation: largest distance of a slice from its place on the line, millimetres.
        step_mm: length of one step.
    """
    gaps = np.diff(heights)
    if gaps.min() <= _SAME_PLACE_MM:
        raise ReadError(
            f"{path}: several slices lie side by side in one plane, which is not a volume; "
            "read them one by one, or choose a part with the option series"
        )
    if deviation <= 0.05 + 0.05 * step_mm:
        return
    usual = float(np.median(gaps))
    multiples = gaps / usual
    whole = np.round(multiples)
    are_multiples = bool((np.abs(multiples - whole) < 0.1).all())
    if are_multiples and whole.min() >= 1 and whole.max() > 1:
        details = []
        for gap in np.flatnonzero(whole > 1)[:4]:
            before = frames[gap].file.path.name
            after = frames[gap + 1].file.path.name
            details.append(
                f"{int(whole[gap]) - 1} between {before} at {heights[gap]:.2f} mm and "
                f"{after} at {heights[gap + 1]:.2f} mm"
            )
        raise ReadError(
            f"{path}: {int((whole - 1).sum())} slices are missing from a series with {usual:.3g} "
            f"mm from slice to slice: {'; '.join(details)}. Fetch the complete series; sizes and "
            "distances would be wrong without them."
        )
    raise ReadError(
        f"{path}: the distance from slice to slice varies from {gaps.min():.3f} to "
        f"{gaps.max():.3f} mm, and slices are off their line by up to {deviation:.2f} mm; one "
        "affine cannot describe that. Resample to even slices first."
    )
