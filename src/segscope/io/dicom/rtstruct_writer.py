"""Masks as a structure set of contours (DICOM RTSTRUCT).

Contours run along the edges of pixels, one for each connected part of a slice, holes joined by a
channel of no width. Reading fills the pixels whose centres lie inside, so that a round trip gives
the same voxels, oblique slices included.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segscope.errors import UsageError
from segscope.files import atomic
from segscope.io.dicom.files import quiet
from segscope.io.dicom.frame_places import read_place
from segscope.io.dicom.headers import RTSTRUCT
from segscope.io.dicom.references import (
    SourceImages,
    check_replaceable,
    clean_label,
    copy_identity,
    count_frames,
    program_version,
    warn_of_cut_names,
)
from segscope.io.dicom.snomed import find_codes
from segscope.io.dicom.values import functional_group, read_spacing, read_text
from segscope.io.polygons import Points, trace_parts
from segscope.masks import Masks
from segscope.overlay import chosen_colour
from segscope.stack import Stack

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_MAX_NUMBER = 2**31 - 1  # of an integer string
_RAS_TO_LPS = (-1, -1, 1)
_DETACHED_STUDY = "1.2.840.10008.3.1.2.3.1"


class RtStruct:
    """RTSTRUCT: contours in millimetres with references to the source images."""

    name = "DICOM RTSTRUCT"
    suffixes = (".rtstruct.dcm",)

    def check(self, masks: Masks, path: Path, source: Stack | None) -> None:
        """Make the structure set without contours.

        Raises:
            UsageError: `source` was not read from DICOM, has no slices with places in the patient,
                or another grid; `path` is a DICOM file of another program.
        """
        masks = masks.on_stored_grid()
        with quiet():
            _make_structure_set(masks, _check_source(masks, path, source))

    def write(self, masks: Masks, path: Path, source: Stack | None) -> None:
        """Write one region of interest for each object.

        Raises:
            UsageError: as `check`.
        """
        masks = masks.on_stored_grid()
        with quiet():
            images = _check_source(masks, path, source)
            data = _make_structure_set(masks, images)
            with atomic(path) as part:
                data.save_as(part, enforce_file_format=True)
        warn_of_cut_names(masks, path)


def _check_source(masks: Masks, path: Path, source: Stack | None) -> SourceImages:
    check_replaceable(path)
    images = SourceImages.of(masks, path, source, "RTSTRUCT")
    if images.geometry is None or not images.geometry.has_place:
        missing = _list_missing(images)
        reason = ""
        if missing:
            reason = f" (no valid {', '.join(missing)})"
        raise UsageError(
            f"an RTSTRUCT needs slices with positions in the patient, which {images.path} does not "
            f"give{reason}; write a DICOM SEG (.dcm) instead"
        )
    if images.geometry.shares_place:
        raise UsageError(
            "an RTSTRUCT tells slices apart by their positions, and the frames of "
            f"{images.path} share one; write a DICOM SEG (.dcm) instead"
        )
    largest = max(masks.object_ids, default=0)
    if largest > _MAX_NUMBER:
        raise UsageError(
            f"{path.name}: an RTSTRUCT numbers objects up to {_MAX_NUMBER}, and there is an object "
            f"{largest}; write .seg.nrrd or a DICOM SEG (.dcm) instead"
        )
    return images


def _list_missing(images: SourceImages) -> list[str]:
    """The elements of a place in the patient that the first image lacks."""
    index = images.frames[0]
    position, orientation = read_place(images.first, index, count_frames(images.first))
    spacing, _ = read_spacing(functional_group(images.first, index, "PixelMeasuresSequence"))
    values = {
        "ImagePositionPatient": position,
        "ImageOrientationPatient": orientation,
        "PixelSpacing": spacing,
    }
    return [name for name, value in values.items() if value is None]


def _make_structure_set(masks: Masks, images: SourceImages) -> Dataset:
    from pydicom.dataset import Dataset

    now = datetime.now()
    date = now.strftime("%Y%m%d")
    time = now.strftime("%H%M%S")
    data = Dataset()
    _set_file_identity(data)
    data.SpecificCharacterSet = "ISO_IR 192"
    copy_identity(images.first, data)
    data.Modality = "RTSTRUCT"
    data.SeriesNumber = 1
    data.InstanceNumber = 1
    data.SeriesDescription = "segscope contours"
    data.OperatorsName = ""
    data.SeriesDate = date
    data.SeriesTime = time
    data.StructureSetDate = date
    data.StructureSetTime = time
    data.InstanceCreationDate = date
    data.InstanceCreationTime = time
    data.Manufacturer = "segscope"
    data.ManufacturerModelName = "segscope"
    data.SoftwareVersions = program_version()
    data.StructureSetLabel = "segscope"
    data.FrameOfReferenceUID = images.frame_of_reference
    data.PositionReferenceIndicator = read_text(images.first, "PositionReferenceIndicator")
    data.ReferencedFrameOfReferenceSequence = [_make_references(images)]
    data.StructureSetROISequence = []
    data.ROIContourSequence = []
    data.RTROIObservationsSequence = []
    for number, object_id in enumerate(masks.object_ids, start=1):
        data.StructureSetROISequence.append(_make_roi(masks, object_id, images))
        data.ROIContourSequence.append(_make_contours(masks, object_id, images))
        data.RTROIObservationsSequence.append(_make_observation(masks, object_id, number))
    return data


def _set_file_identity(data: Dataset) -> None:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ImplicitVRLittleEndian, generate_uid

    data.SOPClassUID = UID(RTSTRUCT)
    data.SOPInstanceUID = generate_uid()
    data.SeriesInstanceUID = generate_uid()
    data.file_meta = FileMetaDataset()
    # files with explicit types cut decimal strings at 64 KiB
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID


def _make_references(images: SourceImages) -> Dataset:
    from pydicom.dataset import Dataset

    series = Dataset()
    series.SeriesInstanceUID = images.first.SeriesInstanceUID
    series.ContourImageSequence = list(map(images.make_reference, images.first_frames()))
    study = Dataset()
    study.ReferencedSOPClassUID = _DETACHED_STUDY
    study.ReferencedSOPInstanceUID = images.first.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID = images.frame_of_reference
    frame.RTReferencedStudySequence = [study]
    return frame


def _make_roi(masks: Masks, object_id: int, images: SourceImages) -> Dataset:
    from pydicom.dataset import Dataset

    roi = Dataset()
    roi.ROINumber = object_id
    roi.ReferencedFrameOfReferenceUID = images.frame_of_reference
    roi.ROIName = clean_label(masks.names[object_id], object_id)
    roi.ROIGenerationAlgorithm = "SEMIAUTOMATIC"
    return roi


def _make_contours(masks: Masks, object_id: int, images: SourceImages) -> Dataset:
    from pydicom.dataset import Dataset

    contours = Dataset()
    contours.ReferencedROINumber = object_id
    contours.ROIDisplayColor = list(chosen_colour(masks, object_id))
    items = []
    for frame in sorted(frame for frame, other in masks.runs if other == object_id):
        parts = trace_parts(masks.mask(frame, object_id))
        items += [_make_contour(points, frame, images) for points in parts]
    if items:
        contours.ContourSequence = items
    return contours


def _make_contour(points: Points, frame: int, images: SourceImages) -> Dataset:
    from pydicom.dataset import Dataset

    assert images.geometry is not None
    index = np.column_stack([points, np.full(len(points), frame), np.ones(len(points))])
    world = (index @ images.geometry.affine.T)[:, :3] * _RAS_TO_LPS
    item = Dataset()
    item.ContourImageSequence = [images.make_reference(frame)]
    item.ContourGeometricType = "CLOSED_PLANAR"
    item.NumberOfContourPoints = len(points)
    item.ContourData = list(map(format_decimal, world.ravel()))
    return item


def _make_observation(masks: Masks, object_id: int, number: int) -> Dataset:
    from pydicom.dataset import Dataset

    observation = Dataset()
    observation.ObservationNumber = number
    observation.ReferencedROINumber = object_id
    observation.RTROIInterpretedType = ""
    observation.ROIInterpreter = ""
    code = masks.about.get(object_id, {}).get("code")
    if code:
        label = clean_label(masks.names[object_id], object_id)
        _, (scheme, value, meaning) = find_codes(label, code)
        item = Dataset()
        item.CodingSchemeDesignator = scheme
        item.CodeValue = value
        item.CodeMeaning = meaning
        observation.RTROIIdentificationCodeSequence = [item]
    return observation


def format_decimal(value: float) -> str:
    """A decimal string of at most 16 characters, to a ten-thousandth of a millimetre where that
    fits.
    """
    text = f"{value:.4f}".rstrip("0").rstrip(".")
    if len(text) > 16:
        text = f"{value:.9g}"
    if text in ("-0", ""):
        return "0"
    return text
