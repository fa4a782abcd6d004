"""Where the frames of a new DICOM object lie: by the geometry of their scan, with the digits of its
headers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segscope.geometry import LPS_TO_RAS, Geometry
from segscope.io.dicom.frame_places import read_place
from segscope.io.dicom.references import SourceImages, count_frames
from segscope.io.dicom.values import (
    Item,
    Vector,
    functional_group,
    parse_vector,
    read_first_number,
    read_spacing,
)

_MAX_OFF_LINE_MM = 0.05  # of a position from the line through all of them ...
_MAX_OFF_LINE = 0.05  # ... and in steps
_SAME_DIRECTION = 1e-3


@dataclass(frozen=True, eq=False)
class SourcePlanes:
    """Places of the frames of a scan.

    Attributes:
        positions: (frame, 3), the centre of the first pixel in LPS millimetres.
        orientation: six direction cosines of all frames.
        spacing: distance of rows, distance of columns in millimetres.
        thickness_mm: of a slice, or None.
        step_mm: from slice to slice, along the normal; None where frames share a place or follow
            each other along a tilted line.
        shares_place: whether the frames follow each other in time.
    """

    positions: NDArray[np.float64]
    orientation: Vector
    spacing: Vector
    thickness_mm: float | None
    step_mm: float | None
    shares_place: bool

    @classmethod
    def of(cls, images: SourceImages) -> SourcePlanes | None:
        """The planes of a scan; None where its place in the patient is unknown."""
        geometry = images.geometry
        if geometry is None or not geometry.has_place:
            return None
        affine = LPS_TO_RAS @ geometry.affine  # its own inverse
        measures = functional_group(images.first, images.frames[0], "PixelMeasuresSequence")
        step = _step_along_normal(affine)
        if geometry.shares_place or len(images.files) == 1:
            step = None
        return cls(
            _list_positions(images, affine, geometry),
            _find_orientation(images, affine),
            _find_spacing(measures, geometry),
            read_first_number(measures, "SliceThickness") or geometry.spacing_zyx_mm[0],
            step,
            geometry.shares_place,
        )


def _list_positions(
    images: SourceImages, affine: NDArray[np.float64], geometry: Geometry
) -> NDArray[np.float64]:
    """Positions as the headers state them; those of the geometry where headers state none."""
    step = np.zeros(3)
    if not geometry.shares_place:
        step = affine[:3, 2]
    positions = affine[:3, 3] + np.arange(len(images.files))[:, None] * step
    tolerance = _MAX_OFF_LINE_MM + _MAX_OFF_LINE * float(np.linalg.norm(affine[:3, 2]))
    for index, position in enumerate(positions):
        header = images.headers[images.files[index]]
        stated, _ = read_place(header, images.frames[index], count_frames(header))
        if stated is not None and np.linalg.norm(np.subtract(stated, position)) <= tolerance:
            positions[index] = stated
    return positions


def _find_orientation(images: SourceImages, affine: NDArray[np.float64]) -> Vector:
    axes = affine[:3, :2] / np.linalg.norm(affine[:3, :2], axis=0)
    computed = tuple(axes.T.ravel().tolist())
    group = functional_group(images.first, images.frames[0], "PlaneOrientationSequence")
    stated = parse_vector(group.get("ImageOrientationPatient"), 6)
    return _prefer_stated(stated, computed, _SAME_DIRECTION)


def _find_spacing(measures: Item, geometry: Geometry) -> Vector:
    computed = geometry.spacing_zyx_mm[1:]
    return _prefer_stated(read_spacing(measures)[0], computed, 1e-4 * max(computed))


def _prefer_stated(stated: Vector | None, computed: Sequence[float], tolerance: float) -> Vector:
    """The numbers of a header where they are those of the geometry, for their digits."""
    if stated is not None and np.abs(np.subtract(stated, computed)).max() <= tolerance:
        return stated
    return tuple(computed)


def _step_along_normal(affine: NDArray[np.float64]) -> float | None:
    """Distance of slices; None where they do not follow each other along their normal."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    normal /= np.linalg.norm(normal)
    length = float(np.linalg.norm(affine[:3, 2]))
    along = abs(float(affine[:3, 2] @ normal))
    if length - along > 1e-6 * length:
        return None
    return along
