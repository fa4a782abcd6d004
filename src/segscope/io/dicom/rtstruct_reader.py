"""Structure sets of contours (DICOM RTSTRUCT) to masks.

The pixels whose centres lie inside a contour belong to its region. What cannot be used is counted
in the notes of the masks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError, UsageError, list_first
from segscope.geometry import Geometry
from segscope.io.base import reading
from segscope.io.dicom.files import quiet, read_header
from segscope.io.dicom.frame_of_reference import is_other_frame, refuse_other_frame
from segscope.io.dicom.origin import Origin
from segscope.io.dicom.values import clean_text, read_items, read_text
from segscope.io.label_frames import default_name, place_on_grid
from segscope.io.nesting import NestedFill, fill_nested
from segscope.io.polygons import Points, fill_even_odd
from segscope.masks import MAX_OBJECT_ID, Masks, Runs, encode_runs
from segscope.stack import Stack

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_MAX_POINTS = 20_000_000
_MAX_OFF_PLANE = 0.25  # slices
_NOTED_OFF_PLANE = 0.05  # slices; less is the rounding of files
_ROUNDING = 0.01  # pixels
_RAS_TO_LPS = (-1, -1, 1)
_XOR = "CLOSEDPLANAR_XOR"

_Key = tuple[int, int]
"""Frame, and number of the region."""


def read_rtstruct(path: Path, like: Stack | None) -> Masks:
    """Masks of the closed contours of a structure set on the grid of `like`.

    A contour inside another one is a hole, copies count once, and contours that overlap in part are
    united; contours of the type CLOSEDPLANAR_XOR are combined by exclusive or. The record of the
    masks has notes on what was left out or changed.

    Raises:
        UsageError: no `like`, or one whose frames cannot be told apart by their place.
        ReadError: damaged, of another frame of reference, or contours that do not lie on the slices
            of `like`.
    """
    if like is None or like.geometry is None or not like.geometry.has_place:
        raise UsageError(
            f"{path} is an RTSTRUCT: contours in millimetres, which become masks only on a scan. "
            "Give the scan (like=), one whose slices have positions."
        )
    if like.geometry.shares_place:
        raise UsageError(
            f"{path} is an RTSTRUCT, whose contours belong to slices by their place; the frames of "
            "this video share one place. Use a DICOM SEG for a video."
        )
    # contours lie on slices as stored, along whatever axis the frames of the stack run
    grid = Masks(like.shape_zyx, {}, {}, geometry=like.geometry, axis=like.axis).on_stored_grid()
    with quiet(), reading(path, "an RTSTRUCT"):
        data = read_header(path)
        regions = _read_regions(path, data, like)
        # mandatory, and the last: without it contours are missing too
        if "RTROIObservationsSequence" not in data:
            raise ReadError(
                f"{path} ends before its list of observations; it is cut off. "
                "Copy or export it again."
            )
        origin_notes = Origin.of_rtstruct(data).check(path, like)
        contours = _place_contours(path, data, regions, grid)
    runs, fills = _fill_contours(contours, regions, grid.shape_zyx[1:])
    record: dict[str, object] = {"read_from": "DICOM RTSTRUCT"}
    notes = (
        *origin_notes,
        *regions.list_notes(),
        *contours.list_notes(),
        *_describe_empty(data, regions, contours),
        *_describe_fills(fills),
    )
    if notes:
        record["notes"] = notes
    names = {regions.ids[number]: name for number, name in regions.names.items()}
    masks = replace(grid, runs=runs, names=names, record=record)
    return place_on_grid(masks, like, path)


# --- regions -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Regions:
    """The regions of interest of a structure set.

    Attributes:
        names: by number of the region.
        ids: object id by number of the region.
        foreign: names of the regions in another frame of reference, by number; they are in neither.
        united: names of regions whose number others have too: contours do not tell them apart.
    """

    names: dict[int, str]
    ids: dict[int, int]
    foreign: dict[int, str]
    united: tuple[str, ...]

    def list_notes(self) -> Iterator[str]:
        if self.foreign:
            names = list_first(self.foreign.values(), 5)
            yield f"regions left out, in another frame of reference than the scan: {names}"
        if self.united:
            yield f"regions that share a number, united: {list_first(self.united, 5)}"


def _read_regions(path: Path, data: Dataset, like: Stack) -> _Regions:
    names: dict[int, str] = {}
    foreign: dict[int, str] = {}
    frame = ""
    default = read_text(data, "FrameOfReferenceUID")
    every: dict[int, list[str]] = {}
    for item in data.StructureSetROISequence:
        frame = read_text(item, "ReferencedFrameOfReferenceUID", default)
        target = foreign if is_other_frame(frame, like) else names
        number = int(item.ROINumber)
        name = clean_text(item.get("ROIName"))
        if name == default_name(number):
            name = ""
        target[number] = name
        every.setdefault(number, []).append(name or default_name(number))
    if foreign and not names:
        refuse_other_frame(path, frame, like)
    ids: Iterable[int] = names
    if min(names, default=1) < 1 or max(names, default=1) > MAX_OBJECT_ID:
        ids = range(1, len(names) + 1)
    united = [name for group in every.values() if len(group) > 1 for name in group]
    return _Regions(names, dict(zip(names, ids, strict=True)), foreign, tuple(united))


# --- places --------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Contours:
    """Contours in index coordinates, and what was noticed about them.

    Attributes:
        closed: contours of the type CLOSED_PLANAR.
        exclusive: contours of the type CLOSEDPLANAR_XOR.
        left_out: how many were left out, by reason.
        cut: how many extend beyond the image.
        moved: how many lie beside their slice.
        off_plane: how far at most, in slices.
    """

    closed: dict[_Key, list[Points]] = field(default_factory=dict)
    exclusive: dict[_Key, list[Points]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    cut: int = 0
    moved: int = 0
    off_plane: float = 0.0

    def list_notes(self) -> Iterator[str]:
        if self.left_out:
            reasons = [f"{reason} ({count})" for reason, count in self.left_out.items()]
            yield f"contours left out: {', '.join(reasons)}"
        if self.cut:
            yield f"contours cut off at the edge of the image: {self.cut}"
        if self.moved:
            yield (
                f"contours moved onto their slice: {self.moved}, by up to {self.off_plane:.2f} of "
                "the distance of slices"
            )


def _place_contours(path: Path, data: Dataset, regions: _Regions, grid: Masks) -> _Contours:
    assert grid.geometry is not None
    slices = _Slices.of(grid.geometry, grid.shape_zyx[0])
    contours = _Contours()
    used = 0
    total = 0
    stray: list[tuple[float, float]] = []  # lowest and highest slice
    for region, kind, world in _iter_closed_contours(data, contours.left_out):
        if region not in regions.names:
            if region not in regions.foreign:
                contours.left_out["of a region that the file does not list"] += 1
            continue
        total += len(world)
        if total > _MAX_POINTS:
            raise ReadError(f"{path} holds more than {_MAX_POINTS:,} contour points")
        if not np.isfinite(world).all():
            raise ReadError(f"{path} holds contour points that are not numbers; export it again")
        index = slices.to_index(world)
        frame = slices.find(index)
        if frame is None:
            stray.append((float(index[:, 2].min()), float(index[:, 2].max())))
            continue
        used += 1
        _add_contour(contours, (frame, region), kind, index, grid.shape_zyx[1:])
    _check_stray(path, stray, used, slices.count)
    if stray:
        contours.left_out["on no slice of the scan"] = len(stray)
    if used and not contours.closed and not contours.exclusive:
        raise ReadError(
            f"{path}: all {used} contours on the slices of this scan lie beside the image; "
            "give the scan they were drawn on"
        )
    return contours


@dataclass(frozen=True, eq=False)
class _Slices:
    """The slices of a stack.

    Attributes:
        to_grid: (4, 4), RAS millimetres to index coordinates (x, y, slice).
        count: of the slices.
    """

    to_grid: NDArray[np.float64]
    count: int

    @classmethod
    def of(cls, geometry: Geometry, count: int) -> _Slices:
        return cls(np.linalg.inv(geometry.affine).astype(np.float64), count)

    def to_index(self, world: NDArray[np.float64]) -> NDArray[np.float64]:
        """Index coordinates (x, y, slice) of points (n, 3) in LPS millimetres."""
        turned = (world * _RAS_TO_LPS) @ self.to_grid[:3, :3].T
        index: NDArray[np.float64] = turned + self.to_grid[:3, 3]
        return index

    def find(self, index: NDArray[np.float64]) -> int | None:
        """The slice that the points of a contour lie on; None if there is no such slice."""
        frame = round(float(index[:, 2].mean()))
        off_plane = _off_plane(index, frame)
        if off_plane <= _MAX_OFF_PLANE and 0 <= frame < self.count:
            return frame
        return None


def _off_plane(index: NDArray[np.float64], frame: int) -> float:
    return float(np.abs(index[:, 2] - frame).max())


def _iter_closed_contours(
    data: Dataset, left_out: Counter[str]
) -> Iterator[tuple[int, str, NDArray[np.float64]]]:
    """Number of the region, type and points (n, 3), LPS millimetres, of each closed contour.

    What encloses no area is counted in `left_out`.
    """
    for roi in read_items(data, "ROIContourSequence"):
        region = int(roi.ReferencedROINumber)
        for contour in read_items(roi, "ContourSequence"):
            kind = read_text(contour, "ContourGeometricType").strip().upper()
            world = np.array(contour.get("ContourData") or (), np.float64).reshape(-1, 3)
            if kind == "POINT":
                left_out["a single point"] += 1
            elif not kind.startswith("CLOSED"):
                left_out["not closed"] += 1
            elif len(world) < 3:
                left_out["of fewer than three points"] += 1
            else:
                yield region, kind, world


def _add_contour(
    contours: _Contours,
    key: _Key,
    kind: str,
    index: NDArray[np.float64],
    size_hw: tuple[int, int],
) -> None:
    points = index[:, :2]
    high = np.array(size_hw[::-1]) - 0.5
    is_beside = bool(((points < -0.5).all(axis=0) | (points > high).all(axis=0)).any())
    if is_beside:
        contours.left_out["beside the image"] += 1
        return
    if points.min() < -0.5 - _ROUNDING or (points > high + _ROUNDING).any():
        contours.cut += 1
    off_plane = _off_plane(index, key[0])
    if off_plane > _NOTED_OFF_PLANE:
        contours.moved += 1
        contours.off_plane = max(contours.off_plane, off_plane)
    group = contours.exclusive if kind == _XOR else contours.closed
    group.setdefault(key, []).append(points)


def _check_stray(path: Path, stray: list[tuple[float, float]], used: int, frames: int) -> None:
    """Refuse a file of which more than a few contours lie on no slice."""
    if not stray or (used and len(stray) <= max(1, (used + len(stray)) // 10)):
        return
    low, high = stray[0]
    raise ReadError(
        f"{path}: {len(stray)} of {used + len(stray)} contours lie on no slice of this scan, the "
        f"first at slices {low:.2f} to {high:.2f} of a stack with slices 0 to {frames - 1}; "
        "contours must lie on whole slices of the scan they were drawn on. Give that scan."
    )


# --- pixels --------------------------------------------------------------------------------------


def _fill_contours(
    contours: _Contours, regions: _Regions, size_hw: tuple[int, int]
) -> tuple[dict[_Key, Runs], list[NestedFill]]:
    """Run lengths by frame and object id, and how contours were filled."""
    runs: dict[_Key, Runs] = {}
    fills = []
    for key in contours.closed.keys() | contours.exclusive.keys():
        frame, region = key
        fill = fill_nested(contours.closed.get(key, ()), size_hw)
        fills.append(fill)
        mask = fill.mask ^ fill_even_odd(contours.exclusive.get(key, ()), size_hw)
        if mask.any():
            runs[frame, regions.ids[region]] = encode_runs(mask)
    return dict(sorted(runs.items())), fills


def _describe_empty(data: Dataset, regions: _Regions, contours: _Contours) -> Iterator[str]:
    """The regions that the file draws, of which nothing can be used."""
    used = {region for _, region in contours.closed.keys() | contours.exclusive.keys()}
    unused = regions.names.keys() - used
    empty = []
    for roi in read_items(data, "ROIContourSequence"):
        region = int(roi.ReferencedROINumber)
        if region in unused and read_items(roi, "ContourSequence"):
            empty.append(regions.names[region] or str(region))
    if empty:
        yield f"regions without any contour that is used: {list_first(empty, 5)}"


def _describe_fills(fills: list[NestedFill]) -> Iterator[str]:
    counts = {
        "contours that repeat another one, which count once": sum(fill.copies for fill in fills),
        "contours of one region that overlap in part, united": sum(
            fill.overlapping for fill in fills
        ),
        "contours around no pixel centre": sum(fill.empty for fill in fills),
    }
    for note, count in counts.items():
        if count:
            yield f"{note}: {count}"
