"""Where slices lie: their positions along the normal, even steps between them, and the affine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError, format_count
from segscope.geometry import LPS_TO_RAS, Geometry
from segscope.io.dicom.records import Frame

Vector3 = NDArray[np.float64]
"""Three numbers, LPS millimetres or directions."""

_SAME_PLACE_MM = 0.01
_MIN_TILT_DEG = 0.1
_RESAMPLE = "pass resample_slices=True (--resample-slices)"


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


@dataclass(frozen=True, eq=False)
class PlacedSlices:
    """Slices of one volume, in order along the normal.

    Attributes:
        geometry: None where the files state no pixel spacing.
        meta: facts and notes for the stack.
        even_steps: where even slices lie among uneven ones, in slices: 2.5 lies half-way between
            slice 2 and slice 3. None for slices that are even.
    """

    geometry: Geometry | None
    meta: dict[str, Any]
    even_steps: NDArray[np.float64] | None = None


def place_slices(
    path: Path,
    frames: Sequence[Frame],
    axes: SliceAxes,
    *,
    resample: bool = False,
) -> PlacedSlices:
    """Geometry of slices in their order along the normal.

    Args:
        path: named in messages.
        frames: of the slices.
        axes: of all of them.
        resample: accept uneven spacing, and interpolate even slices.

    Raises:
        ReadError: slices missing or unevenly spaced, without `resample`; or not in one line.
    """
    places = np.array([frame.position for frame in frames])
    meta: dict[str, Any] = {}
    even_steps = None
    if len(frames) == 1:
        first = places[0]
        step = axes.normal * (frames[0].thickness or 1.0)
    else:
        heights = places @ axes.normal
        _check_heights(path, heights)
        first, step, deviation = _fit_line(places, np.arange(len(frames)))
        if deviation > _tolerance_mm(step):
            if not resample:
                _refuse_uneven(path, frames, heights, deviation)
            first, step, even_steps = _place_even_slices(path, places, heights)
            meta["notes"] = (_describe_resampling(heights, step, len(even_steps)),)
        elif deviation > _SAME_PLACE_MM:
            meta["slice_deviation_mm"] = deviation
            meta["notes"] = (f"slices lie up to {deviation:.2f} mm off their even places",)
        cosine = step @ axes.normal / np.linalg.norm(step)
        tilt = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
        if tilt > _MIN_TILT_DEG:
            meta["gantry_tilt_deg"] = tilt
    spacing = frames[0].spacing
    if spacing is None:
        note = "the files have no PixelSpacing: millimetres are unknown"
        meta["notes"] = (*meta.get("notes", ()), note)
        return PlacedSlices(None, meta, even_steps)
    meta["pixel_spacing_mm"] = spacing
    affine = np.eye(4)
    affine[:3, 0] = axes.row * spacing[1]
    affine[:3, 1] = axes.column * spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = first
    return PlacedSlices(Geometry(LPS_TO_RAS @ affine), meta, even_steps)


def _fit_line(places: NDArray[np.float64], numbers: NDArray[Any]) -> tuple[Vector3, Vector3, float]:
    """The straight line on which places lie best by their numbers; files round them.

    Returns:
        The place of number 0, the step from number to number, and the largest distance of a place
        from the line, in millimetres.
    """
    centred = numbers - numbers.mean()
    middle = places.mean(axis=0)
    step = (centred[:, None] * (places - middle)).sum(axis=0) / (centred**2).sum()
    first = middle - numbers.mean() * step
    line = first + numbers[:, None] * step
    return first, step, float(np.linalg.norm(places - line, axis=1).max())


def _tolerance_mm(step: Vector3) -> float:
    """How far a slice may lie off its place."""
    return 0.05 + 0.05 * float(np.linalg.norm(step))


def _place_even_slices(
    path: Path, places: NDArray[np.float64], heights: NDArray[np.float64]
) -> tuple[Vector3, Vector3, NDArray[np.float64]]:
    """Even slices from the first to the last one: first place, step, and `even_steps`."""
    usual = float(np.median(np.diff(heights)))
    extent = heights[-1] - heights[0]
    count = round(extent / usual) + 1
    numbers = (heights - heights[0]) / extent * (count - 1)
    first, step, deviation = _fit_line(places, numbers)
    if deviation > _tolerance_mm(step):
        raise ReadError(
            f"{path}: slices are shifted within their planes by up to {deviation:.2f} mm, which "
            "cannot be resampled; read them one by one"
        )
    return first, step, np.interp(np.arange(count), numbers, np.arange(len(numbers)))


def _describe_resampling(heights: NDArray[np.float64], step: Vector3, count: int) -> str:
    gaps = np.diff(heights)
    return (
        f"{len(heights)} slices that lie {gaps.min():.3g} to {gaps.max():.3g} mm apart were "
        f"resampled to {count} slices at {np.linalg.norm(step):.3g} mm by linear interpolation"
    )


def _check_heights(path: Path, heights: NDArray[np.float64]) -> None:
    """Refuse slices beside each other."""
    if np.diff(heights).min() <= _SAME_PLACE_MM:
        raise ReadError(
            f"{path}: several slices lie side by side in one plane, which is not a volume; "
            "read them one by one, or choose a part with the option series"
        )


def _refuse_uneven(
    path: Path,
    frames: Sequence[Frame],
    heights: NDArray[np.float64],
    deviation: float,
) -> None:
    """Raise ReadError with the numbers.

    Args:
        path: named in messages.
        frames: in order.
        heights: of each along the normal, millimetres.
        deviation: largest distance of a slice from its place on the line, millimetres.
    """
    gaps = np.diff(heights)
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
        missing = format_count(int((whole - 1).sum()), "missing slice")
        raise ReadError(
            f"{path}: {missing} in a series with {usual:.3g} mm from slice to slice: "
            f"{'; '.join(details)}. Fetch the complete series; sizes and distances would be wrong "
            f"otherwise. If it was scanned like that, {_RESAMPLE}."
        )
    raise ReadError(
        f"{path}: the distance from slice to slice varies from {gaps.min():.3f} to "
        f"{gaps.max():.3f} mm, and slices are off their line by up to {deviation:.2f} mm; one "
        f"affine cannot describe that. To interpolate even slices, {_RESAMPLE}."
    )
