"""Where the frames of a DICOM SEG lie, and its masks on the grid of a stack.

Masks are put there by millimetres, never by the order of frames: a SEG leaves empty frames out, and
its frames may run the other way. Only the frames of a video are told apart by the images that they
were drawn on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError, UsageError
from segscope.geometry import LPS_TO_RAS, Geometry
from segscope.io.base import check_declared
from segscope.io.dicom.slices import SliceAxes
from segscope.io.dicom.values import (
    functional_group,
    parse_number,
    parse_vector,
    read_items,
)
from segscope.masks import Masks, Runs, decode_runs, encode_runs
from segscope.stack import Stack

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_MAX_OFF_GRID = 0.15  # voxels


def segment_number(header: Dataset, index: int) -> int:
    """Number of the segment of a frame; 0 in a label map, whose pixels carry it."""
    item = functional_group(header, index, "SegmentIdentificationSequence")
    number = item.get("ReferencedSegmentNumber")
    if number is None and str(header.get("SegmentationType", "")) != "LABELMAP":
        raise ReadError(f"frame {index} names no segment; the file is damaged. Export it again.")
    return int(number or 0)


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a frame lies.

    Attributes:
        matrix: (4, 3), index (x, y, 1) to RAS millimetres; None where the file gives no position.
        step_mm: declared distance of slices, or None.
        sources: SOPInstanceUID and frame index of the images it was drawn on.
    """

    matrix: NDArray[np.float64] | None
    step_mm: float | None
    sources: list[tuple[str, int]]


def read_placement(path: Path, header: Dataset, index: int) -> Placement:
    plane = functional_group(header, index, "PlanePositionSequence")
    plane_axes = functional_group(header, index, "PlaneOrientationSequence")
    measures = functional_group(header, index, "PixelMeasuresSequence")
    position = parse_vector(plane.get("ImagePositionPatient"), 3)
    orientation = parse_vector(plane_axes.get("ImageOrientationPatient"), 6)
    spacing = parse_vector(measures.get("PixelSpacing"), 2)
    sources = _read_sources(header, index)
    if position is None or orientation is None or spacing is None:
        return Placement(None, None, sources)
    axes = SliceAxes.of(path, orientation)
    matrix = np.eye(4)[:, [0, 1, 3]]
    matrix[:3, 0] = axes.row * spacing[1]
    matrix[:3, 1] = axes.column * spacing[0]
    matrix[:3, 2] = position
    step_mm = parse_number(measures.get("SpacingBetweenSlices"))
    return Placement(LPS_TO_RAS @ matrix, step_mm, sources)


def _read_sources(header: Dataset, index: int) -> list[tuple[str, int]]:
    derivation = functional_group(header, index, "DerivationImageSequence")
    sources = []
    for image in read_items(derivation, "SourceImageSequence"):
        frame = parse_number(image.get("ReferencedFrameNumber"))
        number = 1 if frame is None else int(frame)
        sources.append((str(image.get("ReferencedSOPInstanceUID", "")), number - 1))
    return sources


def has_time_points(header: Dataset, placements: Sequence[Placement]) -> bool:
    """Whether frames of one segment at one position were drawn on different images."""
    sources_at: dict[tuple[int, bytes], set[tuple[str, int]]] = {}
    for index, placement in enumerate(placements):
        if placement.matrix is None or not placement.sources:
            continue
        place = placement.matrix[:3, 2].round(2).tobytes()
        key = (segment_number(header, index), place)
        before = sources_at.setdefault(key, set(placement.sources))
        if before.isdisjoint(placement.sources):
            return True
    return False


def select_time_point(path: Path, placements: Sequence[Placement], grid: Grid) -> list[int]:
    """The frames that were drawn on the images of a stack.

    Raises:
        UsageError: none of them.
    """
    known = grid.frame_of_source
    selected = [
        index
        for index, placement in enumerate(placements)
        if any(source in known for source in placement.sources)
    ]
    if not selected:
        advice = "Give the scan of one of them (like=)."
        if _share_position(placements):
            advice = "Give the whole cine that they were drawn on (like=)."
        raise UsageError(
            f"{path} has several masks of one segment at one position: those of several time "
            f"points. {advice}"
        )
    return selected


def _share_position(placements: Sequence[Placement]) -> bool:
    matrices = [placement.matrix for placement in placements if placement.matrix is not None]
    return all(np.allclose(matrix, matrices[0], atol=0.01) for matrix in matrices)


@dataclass(frozen=True, eq=False)
class Grid:
    """What masks are put on.

    Attributes:
        frame_of_source: frame of the stack by SOPInstanceUID and frame index.
    """

    shape_zyx: tuple[int, int, int]
    geometry: Geometry | None
    times_s: NDArray[np.float64] | None
    axis: int
    frame_of_source: dict[tuple[str, int], int]

    @property
    def shares_place(self) -> bool:
        """Whether positions do not tell the frames apart."""
        return self.geometry is not None and self.geometry.shares_place

    @classmethod
    def of(cls, like: Stack) -> Grid:
        """The grid of a stack."""
        frame_of_source = {}
        if like.axis == 0:
            uids = like.meta.get("dicom_uids", ())
            frames = like.meta.get("dicom_frames", ())
            sources = zip(uids, frames, strict=False)
            frame_of_source = {source: index for index, source in enumerate(sources)}
        return cls(like.shape_zyx, like.geometry, like.times_s, like.axis, frame_of_source)

    @classmethod
    def spanning(
        cls, path: Path, placements: Sequence[Placement], size_hw: tuple[int, int]
    ) -> Grid:
        """The smallest even grid that all frames lie on."""
        matrices = [placement.matrix for placement in placements if placement.matrix is not None]
        if len(matrices) != len(placements):
            raise UsageError(
                f"{path} has no positions for its frames; "
                "read it with the scan it belongs to (like=)"
            )
        first = matrices[0]
        normal = np.cross(first[:3, 0], first[:3, 1])
        normal /= np.linalg.norm(normal)
        ordered = sorted(matrices, key=lambda matrix: float(matrix[:3, 2] @ normal))
        origin = ordered[0][:3, 2]
        offsets = np.array([matrix[:3, 2] - origin for matrix in ordered])
        heights = offsets @ normal
        step = _slice_step(heights, abs(placements[0].step_mm or 0.0))
        count = round(float(heights[-1]) / step) + 1
        along = normal * step
        if count > 1:
            along = offsets[-1] / (count - 1)
        check_declared(path, (count, *size_hw), 1)
        affine = np.eye(4)
        affine[:3, :2] = first[:3, :2]
        affine[:3, 2] = along
        affine[:3, 3] = origin
        return cls((count, *size_hw), Geometry(affine), None, 0, {})


def _slice_step(heights: NDArray[np.float64], declared: float) -> float:
    """Distance of slices: the declared one where all heights are multiples of it."""
    if declared > 0:
        multiples = heights / declared
        if np.abs(multiples - np.round(multiples)).max() < _MAX_OFF_GRID:
            return declared
    gaps = np.diff(np.unique(heights.round(2)))
    if len(gaps):
        return float(gaps.min())
    return declared or 1.0


class MaskCollector:
    """Collects masks on a grid, frame by frame of the segmentation."""

    def __init__(self, path: Path, grid: Grid) -> None:
        self.path = path
        self.grid = grid
        self._runs: dict[tuple[int, int], Runs] = {}
        self._inverse: NDArray[np.float64] | None = None
        if grid.geometry is not None and not grid.shares_place:
            self._inverse = np.linalg.inv(grid.geometry.affine).astype(np.float64)

    def add(
        self,
        index: int,
        placement: Placement,
        mask: NDArray[np.bool_],
        object_id: int,
    ) -> None:
        """Add the mask of an object on frame `index` of the segmentation."""
        if placement.matrix is not None and self._inverse is not None:
            self._add_by_position(index, self._inverse @ placement.matrix, mask, object_id)
            return
        known = self.grid.frame_of_source
        frames = [known[source] for source in placement.sources if source in known]
        if len(frames) != 1 or mask.shape != self.grid.shape_zyx[1:]:
            raise ReadError(
                f"{self.path}: frame {index} has no position in millimetres on this stack, and "
                f"refers to {len(frames)} of its frames; give the DICOM scan that the segmentation "
                "was made on"
            )
        self._merge(frames[0], object_id, mask)

    def to_masks(self, names: dict[int, str], record: dict[str, object]) -> Masks:
        """All of them, with the names of their objects."""
        grid = self.grid
        return Masks(
            grid.shape_zyx,
            self._runs,
            names,
            {},
            grid.geometry,
            grid.times_s,
            record,
            grid.axis,
        )

    def _add_by_position(
        self,
        index: int,
        to_grid: NDArray[np.float64],
        mask: NDArray[np.bool_],
        object_id: int,
    ) -> None:
        """Move the pixels of a mask by `to_grid`: its (x, y, 1) to (x, y, frame) of the grid."""
        steps = to_grid[:3]
        self._check_on_grid(index, steps, mask.shape)
        rows, columns = np.nonzero(mask)
        pixels = np.stack([columns, rows, np.ones_like(rows)])
        places = np.round(steps @ pixels).astype(np.int64)
        ends = np.array(self.grid.shape_zyx[::-1])[:, None]
        inside = ((places >= 0) & (places < ends)).all(axis=0)
        if not inside.all():
            raise ReadError(
                f"{self.path}: {np.count_nonzero(~inside):,} of {len(rows):,} mask pixels of frame "
                f"{index} lie outside this stack; it is not the scan the segmentation was made on, "
                "or only a part of it"
            )
        x, y, frame = places
        for target in np.unique(frame).tolist():
            is_here = frame == target
            part = np.zeros(self.grid.shape_zyx[1:], bool)
            part[y[is_here], x[is_here]] = True
            self._merge(target, object_id, part)

    def _check_on_grid(
        self, index: int, steps: NDArray[np.float64], size_hw: tuple[int, ...]
    ) -> None:
        """Refuse a frame whose pixels do not lie on voxels of the grid."""
        whole = np.round(steps[:, :2])
        ends = np.array([[0, 0, 1], [size_hw[1], size_hw[0], 1]], float).T
        off = np.abs(steps @ ends - np.round(steps @ ends)).max()
        is_unit = np.abs(whole).sum(axis=0).tolist() == [1, 1]
        is_whole = np.abs(steps[:, :2] - whole).max() < 0.01
        if not (is_unit and is_whole) or off > _MAX_OFF_GRID:
            raise ReadError(
                f"{self.path}: frame {index} of the segmentation lies between the voxels of this "
                f"stack (off by up to {off:.2f} voxels, or turned, or of another pixel size); give "
                "the scan it was made on, or resample it"
            )

    def _merge(self, frame: int, object_id: int, mask: NDArray[np.bool_]) -> None:
        before = self._runs.get((frame, object_id))
        if before is not None:
            _, rows, columns = self.grid.shape_zyx
            mask = mask | decode_runs(before, (rows, columns))
        self._runs[frame, object_id] = encode_runs(mask)
