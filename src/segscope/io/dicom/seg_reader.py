"""Masks out of DICOM: segmentation objects (SEG) and structure sets of contours (RTSTRUCT)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segscope.arrays import Pixels
from segscope.errors import ReadError, UsageError
from segscope.io.base import check_declared, check_file, reading
from segscope.io.dicom.files import quiet, read_header
from segscope.io.dicom.frame_of_reference import refuse_other_frame
from segscope.io.dicom.headers import LABELMAP_SEG, RTSTRUCT, SEG
from segscope.io.dicom.origin import Origin
from segscope.io.dicom.rtstruct_reader import read_rtstruct
from segscope.io.dicom.seg_grid import (
    Grid,
    MaskCollector,
    has_time_points,
    read_placement,
    segment_number,
    select_time_point,
)
from segscope.io.dicom.values import clean_text, read_text
from segscope.io.label_frames import default_name
from segscope.masks import Masks
from segscope.stack import Stack

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

OBJECT_MARK = "segscope-object-"
"""Starts the tracking identifier of a segment of ours; the object id follows, as DICOM numbers
segments itself.
"""


def read_masks(path: Path, like: Stack | None = None) -> Masks:
    """Masks of a DICOM SEG or RTSTRUCT, on exactly the grid of `like`.

    Args:
        path: the file.
        like: the stack that they belong to. Without it, a SEG is read on the grid that its frames
            span.

    Raises:
        UsageError: the file holds no masks, or needs `like`.
        ReadError: damaged, or on another grid or in another frame of reference than `like`.
    """
    check_file(path)
    with quiet():
        sop_class = str(read_header(path, ["SOPClassUID"]).get("SOPClassUID", ""))
        if sop_class == RTSTRUCT:
            return read_rtstruct(path, like)
        if sop_class in (SEG, LABELMAP_SEG):
            return _read_seg(path, like)
    raise UsageError(
        f"{path} is DICOM but neither a segmentation (SEG) nor an RTSTRUCT; it holds no masks"
    )


def _read_seg(path: Path, like: Stack | None) -> Masks:
    import pydicom

    with reading(path, "a DICOM SEG"):
        header = read_header(path)
        frames = int(header.get("NumberOfFrames", 1))
        size_hw = (int(header.Rows), int(header.Columns))
        check_declared(path, (frames, *size_hw), 1)
        names = {
            int(item.SegmentNumber): clean_text(item.get("SegmentLabel"))
            for item in _list_segments(header)
        }
        ids = _read_object_ids(header)
        data = pydicom.dcmread(path)
        placements = [read_placement(path, header, index) for index in range(frames)]
    notes: tuple[str, ...] = ()
    if like is None:
        grid = Grid.spanning(path, placements, size_hw)
    else:
        refuse_other_frame(path, read_text(header, "FrameOfReferenceUID"), like)
        with reading(path, "a DICOM SEG"):
            notes = Origin.of_seg(header, frames).check(path, like)
        grid = Grid.of(like)
    used = list(range(frames))
    if has_time_points(header, placements) and not grid.shares_place:
        used = select_time_point(path, placements, grid)
    collector = MaskCollector(path, grid)
    for index in used:
        with reading(path, "a DICOM SEG"):
            masks = list(_split_segments(data, header, index))
        for segment, mask in masks:
            if segment not in ids:
                raise ReadError(
                    f"{path}: frame {index} belongs to segment {segment}, "
                    "which the file does not list"
                )
            collector.add(index, placements[index], mask, ids[segment])
    record: dict[str, object] = {
        "read_from": "DICOM SEG",
        "segmentation_type": str(header.get("SegmentationType", "")),
    }
    if len(used) < frames:
        notes += (f"frames left out, of other time points: {frames - len(used)}",)
    if notes:
        record["notes"] = notes
    object_names = {}
    for segment, name in names.items():
        number = ids[segment]
        object_names[number] = "" if name == default_name(number) else name
    return collector.to_masks(object_names, record)


# --- segments and pixels -------------------------------------------------------------------------


def _list_segments(header: Dataset) -> list[Dataset]:
    """The segments of a file, without the background that label maps list as segment 0."""
    return [item for item in header.SegmentSequence if int(item.SegmentNumber) != 0]


def _read_object_ids(header: Dataset) -> dict[int, int]:
    """Object id of each segment: what our own writer left in the tracking identifiers, else the
    segment number.
    """
    marks = {
        int(item.SegmentNumber): str(item.get("TrackingID", "")) for item in _list_segments(header)
    }
    ids = {}
    for segment, mark in marks.items():
        text = mark.removeprefix(OBJECT_MARK)
        if mark.startswith(OBJECT_MARK) and text.isdecimal():
            ids[segment] = int(text)
    if len(ids) == len(marks) == len(set(ids.values())):
        return ids
    return {segment: segment for segment in marks}


def _split_segments(
    data: Dataset, header: Dataset, index: int
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Segment number and mask of each segment on a frame; those without pixels are left out."""
    pixels = _decode_frame(data, index, header)
    segment = segment_number(header, index)
    if segment:
        if pixels.any():
            yield segment, pixels > 0
        return
    for value in np.unique(pixels[pixels > 0]).tolist():
        yield value, pixels == value


def _decode_frame(data: Dataset, index: int, header: Dataset) -> Pixels:
    from pydicom.pixels import pixel_array

    if header.BitsAllocated == 1 and not data.file_meta.TransferSyntaxUID.is_encapsulated:
        return _unpack_bits(data.PixelData, index, (int(header.Rows), int(header.Columns)))
    pixels: Pixels = pixel_array(data, index=index)
    if str(header.get("SegmentationType", "")) == "FRACTIONAL":
        maximum = float(header.get("MaximumFractionalValue") or 255)
        return (pixels * 2.0 >= maximum).astype(np.uint8)
    return pixels


def _unpack_bits(packed: bytes, index: int, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
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
    first_byte = start // 8
    end_byte = -(-stop // 8)
    part = np.frombuffer(packed, np.uint8, end_byte - first_byte, first_byte)
    bits = np.unpackbits(part, bitorder="little")
    return bits[start % 8 : start % 8 + count].reshape(size_hw)
