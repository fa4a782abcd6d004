"""Masks out of DICOM: segmentation objects (SEG) and structure sets of contours (RTSTRUCT).

Both are put on the grid of a stack by millimetres, never by the order of frames: a SEG leaves empty
frames out, and its frames may run the other way.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError, UsageError
from segscope.geometry import LPS_TO_RAS, Geometry
from segscope.io.base import check_declared
from segscope.io.byte_sources import check_file, reading
from segscope.io.dicom.headers import (
    LABELMAP_SEG,
    RTSTRUCT,
    SEG,
    group_of,
    number,
    plain_text,
    quiet,
    read_header,
    vector,
)
from segscope.io.dicom.series import directions
from segscope.masks import Masks, Runs, decode_runs, encode_runs
from segscope.stack import Stack

OBJECT_MARK = "segscope-object-"
"""Starts the tracking identifier of a segment of ours; the object's number follows, as DICOM counts
segments itself.
"""

_OFF_GRID = 0.15


def read_masks(path: Path, like: Stack | None = None) -> Masks:
    """Masks of a DICOM SEG or RTSTRUCT, on exactly the grid of `like`.

    Args:
        path: the file.
        like: the stack that they belong to. A SEG can be read without it, on a grid of its own that
            spans its frames.

    Raises:
        UsageError: the file holds no masks, or an RTSTRUCT comes without `like`.
        ReadError: damaged, or on another grid than `like`.
    """
    check_file(path)
    with quiet():
        kind = str(read_header(path, ["SOPClassUID"]).get("SOPClassUID", ""))
        if kind == RTSTRUCT:
            from segscope.io.dicom.rtstruct import read_rtstruct

            return read_rtstruct(path, like)
        if kind not in (SEG, LABELMAP_SEG):
            raise UsageError(
                f"{path} is DICOM but neither a segmentation (SEG) nor an RTSTRUCT; it holds no masks"
            )
        return _read_seg(path, like)


def _read_seg(path: Path, like: Stack | None) -> Masks:
    import pydicom

    with reading(path, "a DICOM SEG"):
        header = read_header(path)
        frames = int(header.get("NumberOfFrames", 1))
        rows = int(header.Rows)
        columns = int(header.Columns)
        check_declared(path, (frames, rows, columns), 1)
        names = {
            int(item.SegmentNumber): plain_text(item.get("SegmentLabel"))
            for item in header.SegmentSequence
        }
        ids = _object_ids(header)
        data = pydicom.dcmread(path)
        places = [_place(path, header, index) for index in range(frames)]
    if like is None:
        grid = _own_grid(path, places, (rows, columns))
    else:
        grid = _grid_of(like)
    target = _Target(path, grid, like)
    for index, place in enumerate(places):
        with reading(path, "a DICOM SEG"):
            pixels = _frame_pixels(data, index, header)
        number = _segment_of(header, index)
        for segment in [number] if number else np.unique(pixels[pixels > 0]).tolist():
            if number:
                mask = pixels > 0
            else:
                mask = pixels == segment
            if mask.any():
                if segment not in ids:
                    raise ReadError(
                        f"{path}: frame {index} belongs to segment {segment}, which the file does not list"
                    )
                target.add(index, place, mask, ids[segment])
    record = {
        "read_from": "DICOM SEG",
        "segmentation_type": str(header.get("SegmentationType", "")),
    }
    return target.masks({ids[number]: name for number, name in names.items()}, record)


def _object_ids(header: Any) -> dict[int, int]:
    """Object number of each segment: what our own writer left in the tracking identifiers, else the
    segment number.
    """
    found = {
        int(item.SegmentNumber): str(item.get("TrackingID", "")) for item in header.SegmentSequence
    }
    marked = {
        number: mark.removeprefix(OBJECT_MARK)
        for number, mark in found.items()
        if mark.startswith(OBJECT_MARK)
    }
    if len(marked) == len(found) == len(set(marked.values())) and all(
        mark.isdecimal() for mark in marked.values()
    ):
        return {number: int(mark) for number, mark in marked.items()}
    return {number: number for number in found}


def _frame_pixels(data: Any, index: int, header: Any) -> NDArray[np.uint8]:
    from pydicom.pixels import pixel_array

    if header.BitsAllocated == 1 and not data.file_meta.TransferSyntaxUID.is_encapsulated:
        return _unpacked(data.PixelData, index, (int(header.Rows), int(header.Columns)))
    pixels: NDArray[Any] = pixel_array(data, index=index)
    if str(header.get("SegmentationType", "")) == "FRACTIONAL":
        return (pixels * 2.0 >= float(header.get("MaximumFractionalValue") or 255)).astype(np.uint8)
    return pixels


def _unpacked(packed: bytes, index: int, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Frame `index` of packed bits. Frames follow each other without padding, so most begin inside
    a byte.
    """
    count = size_hw[0] * size_hw[1]
    start = index * count
    stop = (index + 1) * count
    if len(packed) * 8 < stop:
        raise ReadError(
            f"the pixels end before frame {index}; the file is cut off. Copy or export it again."
        )
    part = np.frombuffer(packed, np.uint8, -(-stop // 8) - start // 8, start // 8)
    bits = np.unpackbits(part, bitorder="little")
    return bits[start % 8 : start % 8 + count].reshape(size_hw)


def _segment_of(header: Any, index: int) -> int:
    """Number of the segment of a frame; 0 in a label map, whose pixels carry it."""
    item = group_of(header, index, "SegmentIdentificationSequence")
    number = item.get("ReferencedSegmentNumber")
    if number is None and str(header.get("SegmentationType", "")) != "LABELMAP":
        raise ReadError(f"frame {index} names no segment; the file is damaged. Export it again.")
    return int(number or 0)


class _Place:
    """Where a frame lies: index (x, y) to RAS millimetres, or nothing but references to source
    frames.
    """

    def __init__(
        self,
        matrix: NDArray[np.float64] | None,
        step_mm: float | None,
        sources: list[tuple[str, int]],
    ) -> None:
        self.matrix = matrix
        self.step_mm = step_mm
        self.sources = sources


def _place(path: Path, header: Any, index: int) -> _Place:
    position = vector(
        group_of(header, index, "PlanePositionSequence").get("ImagePositionPatient"), 3
    )
    orientation = vector(
        group_of(header, index, "PlaneOrientationSequence").get("ImageOrientationPatient"), 6
    )
    measures = group_of(header, index, "PixelMeasuresSequence")
    spacing = vector(measures.get("PixelSpacing"), 2)
    sources = []
    for derivation in (
        group_of(header, index, "DerivationImageSequence").get("SourceImageSequence") or []
    ):
        numbers = derivation.get("ReferencedFrameNumber")
        if numbers is None:
            first = 1
        elif isinstance(numbers, int):
            first = numbers
        else:
            first = numbers[0]
        sources.append((str(derivation.get("ReferencedSOPInstanceUID", "")), int(first) - 1))
    if position is None or orientation is None or spacing is None:
        return _Place(None, None, sources)
    row, column, _ = directions(path, orientation)
    matrix = np.eye(4)[:, [0, 1, 3]]
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = row * spacing[1], column * spacing[0], position
    return _Place(LPS_TO_RAS @ matrix, number(measures.get("SpacingBetweenSlices")), sources)


def _grid_of(like: Stack) -> tuple[tuple[int, int, int], Geometry | None]:
    return like.shape_zyx, like.geometry


def _own_grid(
    path: Path, places: Sequence[_Place], size_hw: tuple[int, int]
) -> tuple[tuple[int, int, int], Geometry | None]:
    """The smallest even grid that all frames lie on."""
    matrices = [place.matrix for place in places if place.matrix is not None]
    if len(matrices) != len(places):
        raise UsageError(
            f"{path} gives no positions of its frames; read it with the scan it belongs to (like=)"
        )
    first = matrices[0]
    normal = np.cross(first[:3, 0], first[:3, 1])
    normal /= np.linalg.norm(normal)
    ordered = sorted(matrices, key=lambda matrix: float(matrix[:3, 2] @ normal))
    offsets = np.array([matrix[:3, 2] - ordered[0][:3, 2] for matrix in ordered])
    heights = offsets @ normal
    steps = np.diff(np.unique(heights.round(2)))
    declared = abs(places[0].step_mm or 0.0)
    if len(steps):
        smallest = float(steps.min())
    else:
        smallest = declared or 1.0
    whole = (
        declared > 0 and np.abs(heights / declared - np.round(heights / declared)).max() < _OFF_GRID
    )
    step = smallest
    if whole:
        step = declared
    count = round(float(heights[-1]) / step) + 1
    if count > 1:
        along = offsets[-1] / (count - 1)
    else:
        along = normal * step
    check_declared(path, (count, *size_hw), 1)
    affine = np.eye(4)
    affine[:3, :2], affine[:3, 2], affine[:3, 3] = first[:3, :2], along, ordered[0][:3, 2]
    return (count, *size_hw), Geometry(affine)


class _Target:
    """Collects masks on a grid."""

    def __init__(
        self, path: Path, grid: tuple[tuple[int, int, int], Geometry | None], like: Stack | None
    ) -> None:
        self.path = path
        (self.shape, self.geometry) = grid
        self.like = like
        self._runs: dict[tuple[int, int], Runs] = {}
        self._inverse = None if self.geometry is None else np.linalg.inv(self.geometry.affine)
        self._by_uid: dict[tuple[str, int], int] = {}
        if like is not None and like.axis == 0:
            uids = like.meta.get("dicom_uids", ())
            frames = like.meta.get("dicom_frames", ())
            self._by_uid = {
                pair: index for index, pair in enumerate(zip(uids, frames, strict=False))
            }

    def add(self, index: int, place: _Place, mask: NDArray[np.bool_], segment: int) -> None:
        if place.matrix is not None and self._inverse is not None:
            self._add_by_place(index, place.matrix, mask, segment)
            return
        matching = [self._by_uid[source] for source in place.sources if source in self._by_uid]
        if len(matching) != 1 or mask.shape != self.shape[1:]:
            raise ReadError(
                f"{self.path}: frame {index} has no position in millimetres that this stack knows, and refers to "
                f"{len(matching)} of its frames; give the DICOM scan that the segmentation was made on"
            )
        self._merge(matching[0], segment, mask)

    def _add_by_place(
        self, index: int, matrix: NDArray[np.float64], mask: NDArray[np.bool_], segment: int
    ) -> None:
        assert self._inverse is not None
        steps = (self._inverse @ matrix)[
            :3
        ]  # (x, y, 1) of the segmentation to (x, y, frame) of the grid
        whole = np.round(steps[:, :2])
        rows, columns = np.nonzero(mask)
        ends = np.array([[0, 0, 1], [mask.shape[1], mask.shape[0], 1]], float).T
        off = np.abs(steps @ ends - np.round(steps @ ends)).max()
        unit = (
            np.abs(whole).sum(axis=0).tolist() == [1, 1]
            and np.abs(steps[:, :2] - whole).max() < 0.01
        )
        if not unit or off > _OFF_GRID:
            raise ReadError(
                f"{self.path}: frame {index} of the segmentation lies between the voxels of this stack (off by up to "
                f"{off:.2f} voxels, or turned, or of another pixel size); give the scan it was made on, or resample it"
            )
        places = np.round(steps @ np.stack([columns, rows, np.ones_like(rows)])).astype(np.int64)
        inside = (places >= 0).all(axis=0) & (places < np.array(self.shape[::-1])[:, None]).all(
            axis=0
        )
        if not inside.all():
            raise ReadError(
                f"{self.path}: {np.count_nonzero(~inside):,} of {len(rows):,} mask pixels of frame {index} lie outside "
                "this stack; it is not the scan the segmentation was made on, or only a part of it"
            )
        x, y, frame = places
        for target in np.unique(frame).tolist():
            part = np.zeros(self.shape[1:], bool)
            part[y[frame == target], x[frame == target]] = True
            self._merge(target, segment, part)

    def _merge(self, frame: int, segment: int, mask: NDArray[np.bool_]) -> None:
        before = self._runs.get((frame, segment))
        if before is not None:
            mask = mask | decode_runs(before, (self.shape[1], self.shape[2]))
        self._runs[frame, segment] = encode_runs(mask)

    def masks(self, names: dict[int, str], record: dict[str, Any]) -> Masks:
        times, axis = (None, 0) if self.like is None else (self.like.times_s, self.like.axis)
        return Masks(self.shape, self._runs, names, {}, self.geometry, times, record, axis)
