"""Structure sets of contours (DICOM RTSTRUCT): masks of them, and files of masks.

Contours are written along the edges of pixels, one for each connected part of a slice, holes joined
by a channel of no width; reading fills pixels whose centres lie inside. So a round trip gives the
same voxels, oblique slices included.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError, UsageError
from segscope.files import atomic
from segscope.io.byte_sources import reading
from segscope.io.dicom.headers import RTSTRUCT, plain_text, quiet, read_header
from segscope.io.dicom.references import SourceImages, clean_label, copy_identity, program_version
from segscope.io.dicom.snomed import find_codes
from segscope.io.polygons import fill_even_odd, trace_parts
from segscope.masks import Masks, Runs, encode_runs
from segscope.overlay import chosen_colour
from segscope.stack import Stack

_MOST_POINTS = 20_000_000
_OFF_PLANE = 0.25


def read_rtstruct(path: Path, like: Stack | None) -> Masks:
    """Masks of the closed contours of a structure set on the grid of `like`.

    Raises:
        UsageError: no `like`, or one without geometry.
        ReadError: damaged, or contours that do not lie on the slices of `like`.
    """
    if like is None or like.geometry is None:
        raise UsageError(
            f"{path} is an RTSTRUCT: contours in millimetres, which become masks on a scan only. Give the scan "
            "(like=), one with a geometry."
        )
    with quiet(), reading(path, "an RTSTRUCT"):
        data = read_header(path)
        names = {
            int(item.ROINumber): plain_text(item.get("ROIName"))
            for item in data.StructureSetROISequence
        }
        if (
            "RTROIObservationsSequence" not in data
        ):  # mandatory, and the last: without it contours are missing too
            raise ReadError(
                f"{path} ends before its list of observations; it is cut off. Copy or export it again."
            )
        outlines: dict[tuple[int, int], list[NDArray[np.float64]]] = {}
        inverse = np.linalg.inv(like.geometry.affine).astype(np.float64)
        total = 0
        for roi in data.get("ROIContourSequence") or []:
            for contour in roi.get("ContourSequence") or []:
                if not str(contour.get("ContourGeometricType", "")).startswith("CLOSED"):
                    continue
                world = np.array(contour.ContourData, np.float64).reshape(-1, 3)
                total += len(world)
                if total > _MOST_POINTS:
                    raise ReadError(f"{path} holds more than {_MOST_POINTS:,} contour points")
                frame, points = _on_slice(path, world, inverse, len(like))
                outlines.setdefault((frame, int(roi.ReferencedROINumber)), []).append(points)
    runs: dict[tuple[int, int], Runs] = {}
    for key, contours in outlines.items():
        mask = fill_even_odd(contours, like.size_hw)
        if mask.any():
            runs[key] = encode_runs(mask)
    record = {"read_from": "DICOM RTSTRUCT"}
    return Masks(like.shape_zyx, runs, names, {}, like.geometry, like.times_s, record, like.axis)


def _on_slice(
    path: Path, world: NDArray[np.float64], inverse: NDArray[np.float64], count: int
) -> tuple[int, NDArray[np.float64]]:
    """Frame and index coordinates (x, y) of the points of one contour, given in LPS millimetres."""
    if not np.isfinite(world).all():
        raise ReadError(f"{path} holds contour points that are no numbers; export it again")
    index = (world * (-1, -1, 1)) @ inverse[:3, :3].T + inverse[:3, 3]
    frame = round(float(index[:, 2].mean()))
    off = float(np.abs(index[:, 2] - frame).max())
    if off > _OFF_PLANE or not 0 <= frame < count:
        raise ReadError(
            f"{path}: a contour lies at slices {index[:, 2].min():.2f} to {index[:, 2].max():.2f} of a stack with "
            f"slices 0 to {count - 1}; contours lie on whole slices of the scan they were drawn on. Give that scan."
        )
    return frame, index[:, :2]


class RtStruct:
    """RTSTRUCT: contours in millimetres with references to the source images."""

    name = "DICOM RTSTRUCT"
    suffixes = (".rtstruct.dcm",)

    def check(self, masks: Masks, path: Path, source: Stack | None) -> None:
        """Refuse a source that was not read from DICOM, has no places in the patient, or another
        grid.
        """
        with quiet():
            _placed(masks.on_stored_grid(), path, source)

    def write(self, masks: Masks, path: Path, source: Stack | None) -> None:
        """Write one region of interest for each object.

        Raises:
            UsageError: `source` was not read from DICOM, has no geometry, or another grid.
        """
        masks = masks.on_stored_grid()
        with quiet():
            data = _structure_set(masks, _placed(masks, path, source))
            with atomic(path) as part:
                data.save_as(part, enforce_file_format=True)


def _placed(masks: Masks, path: Path, source: Stack | None) -> SourceImages:
    images = SourceImages.of(masks, path, source, "RTSTRUCT")
    if images.geometry is None or not images.frame_of_reference:
        raise UsageError(
            f"an RTSTRUCT needs slices with positions in the patient, which {images.path} does not give; "
            "write a DICOM SEG (.dcm) instead"
        )
    return images


def _structure_set(masks: Masks, images: SourceImages) -> Any:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ImplicitVRLittleEndian, generate_uid

    now = datetime.now()
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = (
        ImplicitVRLittleEndian  # explicit files cut decimal strings at 64 KiB
    )
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = UID(RTSTRUCT)
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.SpecificCharacterSet = "ISO_IR 192"
    copy_identity(images.first, data)
    data.Modality = "RTSTRUCT"
    data.SeriesInstanceUID = generate_uid()
    data.SeriesNumber = 1
    data.InstanceNumber = 1
    data.SeriesDescription = "segscope contours"
    data.OperatorsName = ""
    data.SeriesDate = data.StructureSetDate = data.InstanceCreationDate = now.strftime("%Y%m%d")
    data.SeriesTime = data.StructureSetTime = data.InstanceCreationTime = now.strftime("%H%M%S")
    data.Manufacturer = data.ManufacturerModelName = "segscope"
    data.SoftwareVersions = program_version()
    data.StructureSetLabel = "segscope"
    data.FrameOfReferenceUID = images.frame_of_reference
    data.PositionReferenceIndicator = str(images.first.get("PositionReferenceIndicator") or "")
    data.ReferencedFrameOfReferenceSequence = [_references(images)]
    data.StructureSetROISequence = []
    data.ROIContourSequence = []
    data.RTROIObservationsSequence = []
    for object_id in masks.object_ids:
        _add_roi(data, masks, object_id, images)
    return data


def _references(images: SourceImages) -> Any:
    from pydicom.dataset import Dataset

    series = Dataset()
    study = Dataset()
    frame = Dataset()
    series.SeriesInstanceUID = images.first.SeriesInstanceUID
    series.ContourImageSequence = [images.reference(index) for index in images.one_frame_a_file()]
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    study.ReferencedSOPInstanceUID = images.first.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = images.frame_of_reference
    frame.RTReferencedStudySequence = [study]
    return frame


def _add_roi(data: Any, masks: Masks, object_id: int, images: SourceImages) -> None:
    from pydicom.dataset import Dataset

    roi = Dataset()
    contours = Dataset()
    seen = Dataset()
    roi.ROINumber = object_id
    roi.ReferencedFrameOfReferenceUID = images.frame_of_reference
    roi.ROIName = clean_label(masks.names[object_id], object_id)
    roi.ROIGenerationAlgorithm = "SEMIAUTOMATIC"
    contours.ReferencedROINumber = object_id
    contours.ROIDisplayColor = list(chosen_colour(masks, object_id))
    items = []
    for frame in sorted(frame for frame, other in masks.runs if other == object_id):
        items += [
            _contour(points, frame, images) for points in trace_parts(masks.mask(frame, object_id))
        ]
    if items:
        contours.ContourSequence = items
    seen.ObservationNumber = len(data.RTROIObservationsSequence) + 1
    seen.ReferencedROINumber = object_id
    seen.RTROIInterpretedType = ""
    seen.ROIInterpreter = ""
    if code := masks.about.get(object_id, {}).get("code"):
        what = Dataset()
        _, (what.CodingSchemeDesignator, what.CodeValue, what.CodeMeaning) = find_codes(
            roi.ROIName, code
        )
        seen.RTROIIdentificationCodeSequence = [what]
    data.StructureSetROISequence.append(roi)
    data.ROIContourSequence.append(contours)
    data.RTROIObservationsSequence.append(seen)


def _contour(points: NDArray[np.float64], frame: int, images: SourceImages) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ContourImageSequence = [images.reference(frame)]
    item.ContourGeometricType = "CLOSED_PLANAR"
    item.NumberOfContourPoints = len(points)
    assert images.geometry is not None
    index = np.column_stack([points, np.full(len(points), frame), np.ones(len(points))])
    world = (index @ images.geometry.affine.T)[:, :3] * (-1, -1, 1)
    item.ContourData = [decimal(value) for value in world.ravel()]
    return item


def decimal(value: float) -> str:
    """A decimal string of at most 16 characters, to a ten-thousandth of a millimetre where that
    fits.
    """
    text = f"{value:.4f}".rstrip("0").rstrip(".")
    if len(text) > 16:
        text = f"{value:.9g}"
    if text in ("-0", ""):
        return "0"
    return text
