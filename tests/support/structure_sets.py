"""Structure sets (RTSTRUCT) with any contours, as other programs write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from segscope.stack import Stack
from support.dicom_files import header, save

_RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"


@dataclass(frozen=True, eq=False)
class Contour:
    """A contour in index coordinates (x, y) of a slice, or between slices."""

    xy: Sequence[Sequence[float]]
    slice: float = 0.0
    kind: str = "CLOSED_PLANAR"
    region: int = 1


def box(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
    """Along the edges of the pixels x0 to x1 - 1, y0 to y1 - 1."""
    low_x, low_y, high_x, high_y = x0 - 0.5, y0 - 0.5, x1 - 0.5, y1 - 0.5
    return [[low_x, low_y], [high_x, low_y], [high_x, high_y], [low_x, high_y]]


def write_structure_set(
    path: Path,
    stack: Stack,
    contours: Sequence[Contour],
    frames_of_reference: dict[int, str] | None = None,
) -> Path:
    """A structure set whose contours lie on a stack.

    Args:
        path: of the file.
        stack: read from DICOM.
        contours: of all regions.
        frames_of_reference: of regions that have another one than the stack, by number.
    """
    scan = pydicom.dcmread(stack.meta["dicom_files"][0], stop_before_pixels=True)
    data = header(_RTSTRUCT, "RTSTRUCT", StructureSetLabel="made")
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    for name in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        del data[name]
    data.FrameOfReferenceUID = scan.FrameOfReferenceUID
    data.StructureSetROISequence = []
    data.ROIContourSequence = []
    data.RTROIObservationsSequence = []
    for number in sorted({contour.region for contour in contours}):
        roi = Dataset()
        roi.ROINumber = number
        roi.ROIName = f"region {number}"
        own = (frames_of_reference or {}).get(number, scan.FrameOfReferenceUID)
        roi.ReferencedFrameOfReferenceUID = own
        data.StructureSetROISequence.append(roi)
        items = Dataset()
        items.ReferencedROINumber = number
        items.ContourSequence = [
            _make_contour(stack, contour) for contour in contours if contour.region == number
        ]
        data.ROIContourSequence.append(items)
        observation = Dataset()
        observation.ReferencedROINumber = number
        data.RTROIObservationsSequence.append(observation)
    return save(data, path)


def _make_contour(stack: Stack, contour: Contour) -> Dataset:
    assert stack.geometry is not None
    xy = np.array(contour.xy, float)
    index = np.column_stack([xy, np.full(len(xy), contour.slice), np.ones(len(xy))])
    world = (index @ stack.geometry.affine.T)[:, :3] * (-1, -1, 1)
    item = Dataset()
    item.ContourGeometricType = contour.kind
    item.NumberOfContourPoints = len(xy)
    item.ContourData = [f"{value:.6f}" for value in world.ravel()]
    return item
