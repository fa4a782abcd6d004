"""DICOM files for tests: every voxel carries its own number, so that its place can be checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from segscope.stack import Stack

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
US_CLIP = "1.2.840.10008.5.1.4.1.1.3.1"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SPACING = (0.7, 0.4)  # between rows, between columns
ROWS, COLUMNS = 6, 9


def oblique() -> tuple[float, ...]:
    """Directions that are parallel to no axis."""
    turn, lean = np.radians(25), np.radians(-40)
    about_z = np.array(
        [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    )
    about_x = np.array(
        [[1, 0, 0], [0, np.cos(lean), -np.sin(lean)], [0, np.sin(lean), np.cos(lean)]]
    )
    turned = about_z @ about_x
    return tuple(np.round([*turned[:, 0], *turned[:, 1]], 9).tolist())


def world_lps(
    position: Sequence[float], orientation: Sequence[float], row: int, column: int
) -> np.ndarray:
    """Place of a pixel's centre by the equation of DICOM PS3.3 C.7.6.2.1.1."""
    along_row, along_column = np.array(orientation[:3]), np.array(orientation[3:])
    return np.array(position) + along_row * SPACING[1] * column + along_column * SPACING[0] * row


def header(sop_class: str, modality: str, **tags: Any) -> Dataset:
    """What every file needs, with the given elements on top."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = sop_class, generate_uid()
    data.file_meta.MediaStorageSOPClassUID = sop_class
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.Modality = modality
    data.PatientName, data.PatientID, data.PatientBirthDate, data.PatientSex = (
        "Test^Made",
        "T1",
        "",
        "",
    )
    data.StudyDate, data.StudyTime, data.StudyID, data.AccessionNumber = (
        "20260101",
        "120000",
        "1",
        "",
    )
    data.ReferringPhysicianName, data.Manufacturer = "", "segscope tests"
    data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = (
        "1.2.3.1",
        "1.2.3.2",
        "1.2.3.3",
    )
    data.SeriesNumber, data.InstanceNumber = 1, 1
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.PositionReferenceIndicator = ""
    for name, value in tags.items():
        setattr(data, name, value)
    return data


def set_pixels(data: Dataset, pixels: np.ndarray) -> Dataset:
    """Native pixels (row, column), (frame, row, column), the latter with NumberOfFrames."""
    data.Rows, data.Columns = pixels.shape[-2:]
    data.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    data["PixelData"].VR = "OW" if pixels.itemsize == 2 else "OB"
    return data


def save(data: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path


def slice_pixels(number: int) -> np.ndarray:
    """Pixels of slice `number`: each has its own value in the whole series."""
    return (np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) + 100 * number).astype(np.int16)


def write_series(
    folder: Path,
    positions: Sequence[Sequence[float]],
    orientation: Sequence[float] = AXIAL,
    *,
    each: Sequence[dict[str, Any]] | None = None,
    names: Sequence[str] | None = None,
    pixels: np.ndarray | None = None,
    **tags: Any,
) -> Path:
    """Single-frame files, one per position, with shuffled names and reversed instance numbers."""
    shuffled = np.random.default_rng(3).permutation(len(positions))
    for number, position in enumerate(positions):
        data = header(CT, "CT", **tags)
        data.ImagePositionPatient, data.ImageOrientationPatient = list(position), list(orientation)
        data.PixelSpacing, data.SliceThickness = list(SPACING), 2.0
        data.InstanceNumber = len(positions) - number
        for name, value in (each[number] if each else {}).items():
            setattr(data, name, value)
        set_pixels(data, slice_pixels(number) if pixels is None else pixels[number])
        save(data, folder / (names[number] if names else f"{shuffled[number]:03d}.dcm"))
    return folder


def along(
    step: Sequence[float], count: int, start: Sequence[float] = (-12.5, 30.0, 7.25)
) -> list[list[float]]:
    """Positions from `start` in even steps."""
    return [[a + number * b for a, b in zip(start, step, strict=True)] for number in range(count)]


def normal_of(orientation: Sequence[float]) -> np.ndarray:
    return np.cross(orientation[:3], orientation[3:])


def write_enhanced(
    path: Path, positions: Sequence[Sequence[float]], **content: Sequence[Any]
) -> Path:
    """An enhanced CT with one functional group a frame, stored in the order given.

    Args:
        path: of the file.
        positions: of each frame.
        content: element of the frame content sequence and its value for each frame.
    """
    data = header(ENHANCED_CT, "CT", NumberOfFrames=len(positions))
    shared, orientation, measures, values = Dataset(), Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = list(AXIAL)
    measures.PixelSpacing, measures.SliceThickness = list(SPACING), 2.0
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 2.0, -100.0, "HU"
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    shared.PixelValueTransformationSequence = [values]
    data.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for number, position in enumerate(positions):
        group, place, frame = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = list(position)
        for name, given in content.items():
            setattr(frame, name, given[number])
        group.PlanePositionSequence, group.FrameContentSequence = [place], [frame]
        groups.append(group)
    data.PerFrameFunctionalGroupsSequence = groups
    set_pixels(data, np.stack([slice_pixels(number) for number in range(len(positions))]))
    return save(data, path)


def write_clip(
    path: Path, frames: int = 12, size_hw: tuple[int, int] = (24, 33), **tags: Any
) -> Path:
    """An ultrasound clip of 8 bits whose frame number is the value of all pixels."""
    data = header(
        US_CLIP,
        "US",
        NumberOfFrames=frames,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        **tags,
    )
    del data.FrameOfReferenceUID
    pixels = np.broadcast_to(np.arange(frames, dtype=np.uint8)[:, None, None], (frames, *size_hw))
    return save(set_pixels(data, np.ascontiguousarray(pixels)), path)


def whole(stack: Stack) -> np.ndarray:
    return np.stack([stack[index] for index in range(len(stack))])


def sample(name: str) -> Path:
    """A file that comes with pydicom."""
    path = get_testdata_file(name, download=False)
    if not isinstance(path, str):
        pytest.skip(f"this pydicom brings no {name}")
    return Path(path)
