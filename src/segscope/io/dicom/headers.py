"""DICOM headers: one `Frame` for each image in a file, without reading pixels.

Everything here comes from untrusted files: values that do not parse become None or a ReadError,
never a guess.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from segscope.errors import ReadError
from segscope.io.base import check_declared, reading
from segscope.io.dicom.cine import read_clip_times
from segscope.io.dicom.files import DEFLATED, quiet, read_header
from segscope.io.dicom.frame_places import read_place
from segscope.io.dicom.image_checks import (
    check_pixel_kind,
    check_size,
    find_unused_low_bits,
    is_video,
)
from segscope.io.dicom.mosaic import is_mosaic, split_mosaic
from segscope.io.dicom.order_keys import read_order_keys
from segscope.io.dicom.records import NATIVE, DicomInstance, Frame, NoFrames
from segscope.io.dicom.shown_values import read_padding, read_window
from segscope.io.dicom.values import (
    clean_text,
    functional_group,
    parse_number,
    read_first_number,
    read_integer,
    read_items,
    read_spacing,
    read_text,
)

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.uid import UID

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
LABELMAP_SEG = "1.2.840.10008.5.1.4.1.1.66.7"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
_PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_DIRECTORY = "1.2.840.10008.1.3.10"
_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
_READ_AS_MASKS = "read it as masks (read_masks, --mask), together with its scan"
_MASK_OBJECTS = {
    SEG: f"a segmentation: {_READ_AS_MASKS}",
    LABELMAP_SEG: f"a segmentation: {_READ_AS_MASKS}",
    RTSTRUCT: f"a structure set of contours: {_READ_AS_MASKS}",
}
_UNSUPPORTED_OBJECTS = {
    _WHOLE_SLIDE: "a whole slide in tiles: convert it to a pyramidal TIFF and read that",
    _DIRECTORY: "a list of files (DICOMDIR): name the folder that it lies in",
    _DOSE: "a radiotherapy dose, not an image: read the CT it was planned on",
}
_TAGS = """
SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID SeriesNumber SeriesDescription
Modality PatientID InstanceNumber FrameOfReferenceUID ImageType Rows Columns SamplesPerPixel
PhotometricInterpretation BitsAllocated BitsStored HighBit PixelRepresentation NumberOfFrames
PlanarConfiguration ImagePositionPatient ImageOrientationPatient PixelSpacing ImagerPixelSpacing
NominalScannedPixelSpacing SliceThickness SpacingBetweenSlices GantryDetectorTilt RescaleSlope
RescaleIntercept RescaleType WindowCenter WindowWidth FrameTime FrameTimeVector
RecommendedDisplayFrameRate CineRate FrameIncrementPointer ActualFrameDuration
SequenceOfUltrasoundRegions TemporalPositionIdentifier TriggerTime NominalCardiacTriggerDelayTime
EchoTime EchoNumbers DiffusionBValue DiffusionGradientOrientation FlipAngle InversionTime KVP
DimensionIndexSequence FrameReferenceTime AcquisitionNumber AcquisitionDateTime
AcquisitionDate AcquisitionTime ContentTime SharedFunctionalGroupsSequence
PerFrameFunctionalGroupsSequence SpecificCharacterSet ModalityLUTSequence
DetectorInformationSequence SliceVector TimeSlotVector RRIntervalVector EnergyWindowVector
GridFrameOffsetVector ContentDate VOILUTSequence PixelPaddingValue PixelPaddingRangeLimit
""".split()  # noqa: SIM905 - many names read better without quotes


# --- reading -------------------------------------------------------------------------------------


def read_frames(path: Path) -> list[Frame] | NoFrames:
    """Frames of one DICOM file, or why it holds none.

    Raises:
        ReadError: damaged, cut off, or larger than the limits.
    """
    with quiet():
        data = read_header(path, _TAGS)
        with reading(path, "a DICOM file"):
            sop_class = str(_read_kind(data) or "")
            if sop_class in _MASK_OBJECTS:
                return NoFrames(_MASK_OBJECTS[sop_class], holds_masks=True)
            if sop_class in _UNSUPPORTED_OBJECTS:
                return NoFrames(_UNSUPPORTED_OBJECTS[sop_class])
            if data.get("Rows") is None and data.get("Columns") is None:
                if _should_be_image(data):
                    raise ReadError(
                        f"{path} is not a DICOM file, or is cut off in its header; "
                        "copy or export it again, or remove it"
                    )
                return NoFrames("not an image")
            file = _parse_instance(path, data)
            frames = [_parse_frame(file, data, index) for index in range(file.frames)]
            if is_mosaic(data):
                return split_mosaic(frames[0])
            return frames


def _read_kind(data: Dataset) -> UID | None:
    """The SOP class; lists of files state theirs only in the head of the file."""
    stated: UID | None = data.get("SOPClassUID")
    return stated or getattr(data, "file_meta", {}).get("MediaStorageSOPClassUID")


def _should_be_image(data: Dataset) -> bool:
    """Whether a file without a size is a damaged image, rather than a plan, a report or a list of
    files.
    """
    kind = _read_kind(data)
    return kind is None or "Image Storage" in getattr(kind, "name", "")


# --- what all frames of a file share -------------------------------------------------------------


def _parse_instance(path: Path, data: Dataset) -> DicomInstance:
    check_pixel_kind(path, data)
    samples = read_integer(data, "SamplesPerPixel", 1)
    bits = read_integer(data, "BitsAllocated")
    default_colours = "RGB" if samples == 3 else "MONOCHROME2"
    photometric = read_text(data, "PhotometricInterpretation", default_colours).strip().upper()
    frames = int(parse_number(data.get("NumberOfFrames")) or 1)
    rows = read_integer(data, "Rows")
    columns = read_integer(data, "Columns")
    shown_samples = 3 if photometric == "PALETTE COLOR" else samples
    check_declared(path, (frames, rows, columns, shown_samples), max(bits // 8, 1))
    syntax = _read_syntax(data)
    sop_class = read_text(data, "SOPClassUID")
    unused_low_bits, notes = find_unused_low_bits(data, syntax)
    times, is_clip = read_clip_times(data, frames)
    file = DicomInstance(
        path=path,
        syntax=syntax,
        sop_class=sop_class,
        sop_uid=read_text(data, "SOPInstanceUID"),
        study_uid=read_text(data, "StudyInstanceUID"),
        series_uid=read_text(data, "SeriesInstanceUID"),
        series_number=int(parse_number(data.get("SeriesNumber")) or 0),
        patient_hash=_hash_patient(read_text(data, "PatientID")),
        frame_of_reference=read_text(data, "FrameOfReferenceUID"),
        description=clean_text(data.get("SeriesDescription")),
        modality=clean_text(data.get("Modality")) or None,
        rows=rows,
        columns=columns,
        samples=samples,
        photometric=photometric,
        bits_allocated=bits,
        bits_stored=read_integer(data, "BitsStored", bits),
        unused_low_bits=unused_low_bits,
        signed=bool(data.get("PixelRepresentation")),
        floating=sop_class == _PARAMETRIC_MAP and bits >= 32,
        frames=frames,
        decoder_options=_complete_decoder_options(data, samples),
        has_modality_lut=_has_modality_lut(data),
        spacing_source=read_spacing(data)[1],
        times_s=times,
        is_clip=is_clip or is_video(syntax),
        notes=notes,
    )
    if syntax != DEFLATED:
        check_size(file, int(data.pixels_start))
    return file


def _complete_decoder_options(data: Dataset, samples: int) -> dict[str, int]:
    """What decoders require and a header may leave out."""
    if samples == 3 and data.get("PlanarConfiguration") is None:
        return {"planar_configuration": 0}
    return {}


def _has_modality_lut(data: Dataset) -> bool:
    """Whether there is a table; some writers leave an empty item."""
    items = read_items(data, "ModalityLUTSequence")
    return bool(items and items[0].get("LUTDescriptor") and items[0].get("LUTData"))


def _read_syntax(data: Dataset) -> str:
    stated = getattr(data, "file_meta", {}).get("TransferSyntaxUID")
    if stated:
        return str(stated)
    is_implicit, is_little = data.original_encoding
    if is_implicit:
        return NATIVE[0]
    if is_little:
        return NATIVE[1]
    return NATIVE[2]


# --- frames --------------------------------------------------------------------------------------


def _parse_frame(file: DicomInstance, data: Dataset, index: int) -> Frame:
    measures = functional_group(data, index, "PixelMeasuresSequence")
    transform = functional_group(data, index, "PixelValueTransformationSequence")
    position, orientation = read_place(data, index, file.frames)
    slope = parse_number(transform.get("RescaleSlope"))
    if slope == 0:
        raise ReadError(
            f"{file.path} has a RescaleSlope of 0, which makes all voxels equal; "
            "export the scan again"
        )
    if slope is None:
        slope = 1.0
    intercept = parse_number(transform.get("RescaleIntercept")) or 0.0
    thickness = read_first_number(measures, "SpacingBetweenSlices", "SliceThickness")
    return Frame(
        file=file,
        index=index,
        position=position,
        orientation=orientation,
        spacing=read_spacing(measures)[0],
        thickness=abs(thickness) if thickness else None,
        slope=slope,
        intercept=intercept,
        window=read_window(data, index),
        padding=read_padding(data, slope, intercept),
        order=read_order_keys(data, index),
    )


def _hash_patient(identifier: str) -> str:
    if not identifier:
        return ""
    return hashlib.sha256(identifier.encode()).hexdigest()
