"""DICOM headers as plain records: one `Frame` for each image in a file, without reading pixels.

Everything here comes from untrusted files: values that do not parse become None or a ReadError,
never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from segscope.errors import ReadError
from segscope.io.base import check_declared, reading
from segscope.io.dicom.files import DEFLATED, quiet, read_header
from segscope.io.dicom.values import (
    Vector,
    clean_text,
    functional_group,
    parse_number,
    parse_time,
    parse_vector,
    read_first_number,
    read_integer,
    read_items,
    read_spacing,
    read_text,
    read_window,
)

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

OrderKeys = dict[str, float | str]
"""Values that may tell apart frames at one position, by the name of their element."""

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
LABELMAP_SEG = "1.2.840.10008.5.1.4.1.1.66.7"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
_VIDEO_SYNTAXES = "1.2.840.10008.1.2.4.10"  # MPEG-2, MPEG-4, HEVC: ...4.100 to ...4.108
_READ_AS_MASKS = "read it as masks (read_masks, --mask), together with its scan"
_MASK_OBJECTS = {
    SEG: f"a segmentation: {_READ_AS_MASKS}",
    LABELMAP_SEG: f"a segmentation: {_READ_AS_MASKS}",
    RTSTRUCT: f"a structure set of contours: {_READ_AS_MASKS}",
}
_UNSUPPORTED_OBJECTS = {
    _WHOLE_SLIDE: "a whole slide in tiles: convert it to a pyramidal TIFF and read that",
    _DOSE: "a radiotherapy dose, not an image: read the CT it was planned on",
}
_TAGS = """
SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID SeriesNumber SeriesDescription
Modality InstanceNumber FrameOfReferenceUID ImageType Rows Columns SamplesPerPixel
PhotometricInterpretation BitsAllocated BitsStored PixelRepresentation NumberOfFrames
PlanarConfiguration ImagePositionPatient ImageOrientationPatient PixelSpacing ImagerPixelSpacing
NominalScannedPixelSpacing SliceThickness SpacingBetweenSlices GantryDetectorTilt RescaleSlope
RescaleIntercept RescaleType WindowCenter WindowWidth FrameTime FrameTimeVector
RecommendedDisplayFrameRate CineRate FrameIncrementPointer ActualFrameDuration
SequenceOfUltrasoundRegions TemporalPositionIdentifier TriggerTime NominalCardiacTriggerDelayTime
EchoTime EchoNumbers DiffusionBValue FrameReferenceTime AcquisitionNumber AcquisitionDateTime
AcquisitionDate AcquisitionTime ContentTime SharedFunctionalGroupsSequence
PerFrameFunctionalGroupsSequence SpecificCharacterSet ModalityLUTSequence
""".split()  # noqa: SIM905 - forty names read better without quotes
_CLIP_MODALITIES = ("US", "IVUS", "XA", "RF", "ES", "GM")


# --- records -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class DicomInstance:
    """What all frames of one file share.

    Attributes:
        spacing_source: the element that gave the spacing of pixels, empty without one.
        times_s: seconds of each frame from the cine tags, or None.
        is_clip: whether the file says that its frames follow in time.
    """

    path: Path
    syntax: str
    sop_class: str
    sop_uid: str
    study_uid: str
    series_uid: str
    frame_of_reference: str
    series_number: int
    description: str
    modality: str | None
    rows: int
    columns: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    signed: bool
    floating: bool
    frames: int
    has_modality_lut: bool
    spacing_source: str
    times_s: Vector | None
    is_clip: bool


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image of a file.

    Attributes:
        file: the file it lies in.
        index: its number in the file, from 0.
        position: ImagePositionPatient, LPS millimetres, or None.
        orientation: ImageOrientationPatient, six direction cosines, or None.
        spacing: distance of rows, distance of columns in millimetres, or None.
        thickness: SpacingBetweenSlices or SliceThickness in millimetres, or None.
        slope, intercept: of the modality transform.
        window: (low, high) after the modality transform, or None.
        order: values that may tell apart frames at one position, by name.
    """

    file: DicomInstance
    index: int
    position: Vector | None
    orientation: Vector | None
    spacing: Vector | None
    thickness: float | None
    slope: float
    intercept: float
    window: tuple[float, float] | None
    order: OrderKeys


@dataclass(frozen=True)
class NoFrames:
    """Why a DICOM file holds no frames.

    Attributes:
        reason: what it is instead, and what to do.
        holds_masks: whether it can be read as masks.
    """

    reason: str
    holds_masks: bool = False


# --- reading -------------------------------------------------------------------------------------


def read_frames(path: Path) -> list[Frame] | NoFrames:
    """Frames of one DICOM file, or why it holds none.

    Raises:
        ReadError: damaged, cut off, or larger than the limits.
    """
    with quiet():
        data = read_header(path, _TAGS)
        with reading(path, "a DICOM file"):
            sop_class = str(data.get("SOPClassUID", ""))
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
            return [_parse_frame(file, data, index) for index in range(file.frames)]


def _should_be_image(data: Dataset) -> bool:
    """Whether a file without a size is a damaged image, rather than a plan, a report or a list of
    files.
    """
    kind = data.get("SOPClassUID") or getattr(data, "file_meta", {}).get("MediaStorageSOPClassUID")
    return kind is None or "Image Storage" in getattr(kind, "name", "")


# --- what all frames of a file share -------------------------------------------------------------


def _parse_instance(path: Path, data: Dataset) -> DicomInstance:
    sop_class = str(data.get("SOPClassUID", ""))
    samples = read_integer(data, "SamplesPerPixel", 1)
    bits = read_integer(data, "BitsAllocated")
    photometric = read_text(data, "PhotometricInterpretation", "MONOCHROME2").strip().upper()
    _check_kind(path, data, samples, bits)
    frames = int(parse_number(data.get("NumberOfFrames")) or 1)
    rows = int(data.Rows or 0)
    columns = int(data.Columns or 0)
    shown_samples = 3 if photometric == "PALETTE COLOR" else samples
    check_declared(path, (frames, rows, columns, shown_samples), max(bits // 8, 1))
    syntax = _read_syntax(data)
    times, is_clip = _read_clip_times(data, frames)
    file = DicomInstance(
        path=path,
        syntax=syntax,
        sop_class=sop_class,
        sop_uid=str(data.get("SOPInstanceUID", "")),
        study_uid=str(data.get("StudyInstanceUID", "")),
        series_uid=str(data.get("SeriesInstanceUID", "")),
        frame_of_reference=read_text(data, "FrameOfReferenceUID"),
        series_number=int(parse_number(data.get("SeriesNumber")) or 0),
        description=clean_text(data.get("SeriesDescription")),
        modality=clean_text(data.get("Modality")) or None,
        rows=rows,
        columns=columns,
        samples=samples,
        photometric=photometric,
        bits_allocated=bits,
        bits_stored=read_integer(data, "BitsStored", bits),
        signed=bool(data.get("PixelRepresentation")),
        floating=sop_class == _PARAMETRIC_MAP and bits >= 32,
        frames=frames,
        has_modality_lut=bool(data.get("ModalityLUTSequence")),
        spacing_source=read_spacing(data)[1],
        times_s=times,
        is_clip=is_clip,
    )
    _check_size(file, data)
    return file


def _check_kind(path: Path, data: Dataset, samples: int, bits: int) -> None:
    if bits not in (1, 8, 16, 32, 64) or samples not in (1, 3):
        raise ReadError(
            f"{path} declares {samples} samples of {bits} bits per pixel; 1 or 3 samples of 1, 8, "
            "16, 32 or 64 bits can be read. The file is damaged or of an unusual kind: export it "
            "again."
        )
    if "MOSAIC" in [str(part).upper() for part in read_items(data, "ImageType")]:
        raise ReadError(
            f"{path} is a mosaic: all slices of a volume as tiles of one image, placed by private "
            "elements. Convert it to NIfTI first (for instance with dcm2niix)."
        )


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


def _check_size(file: DicomInstance, data: Dataset) -> None:
    """Refuse a file that ends before its pixels do, before anybody works on it."""
    path = file.path
    syntax = file.syntax
    if syntax.startswith(_VIDEO_SYNTAXES) and len(syntax) > len(_VIDEO_SYNTAXES):
        raise ReadError(
            f"{path} holds an MPEG video inside DICOM; export the video stream and read that"
        )
    if syntax == DEFLATED:
        return
    start = int(data.pixels_start)
    size = path.stat().st_size - start
    needs = ""
    if syntax in NATIVE:
        expected = file.frames * file.rows * file.columns * file.samples * file.bits_allocated // 8
        if file.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422"):
            expected = expected * 2 // 3
    else:
        expected = 8 * file.frames  # no frame is shorter than the mark before it
        if not _has_end_mark(path, start):
            needs = " and a mark at their end"
    if size < expected or needs:
        raise ReadError(
            f"{path} is cut off or holds no pixels: {file.frames} x {file.rows} x {file.columns} "
            f"(frames x rows x columns) of {file.bits_allocated} bits need {expected:,} "
            f"bytes{needs}, but the file has {size:,} after its header. Copy or export it again."
        )


def _has_end_mark(path: Path, start: int) -> bool:
    """Whether compressed pixels reach their sequence delimiter; decoders silently fill up what is
    missing.
    """
    with path.open("rb") as file:
        file.seek(max(start, path.stat().st_size - 2**16))
        return b"\xfe\xff\xdd\xe0" in file.read()


def _read_clip_times(data: Dataset, frames: int) -> tuple[Vector | None, bool]:
    """Seconds of each frame from the cine tags, and whether the frames follow in time."""
    if frames < 2:
        return None, False
    steps = parse_vector(data.get("FrameTimeVector"), frames)
    if steps is not None and min(steps) >= 0:
        return _accumulate_times(steps), True
    period_ms = _read_frame_period(data)
    if period_ms is not None:
        return tuple(index * period_ms / 1000.0 for index in range(frames)), True
    return None, read_text(data, "Modality") in _CLIP_MODALITIES


def _accumulate_times(steps_ms: Vector) -> Vector:
    """Seconds of each frame from the milliseconds since the frame before; the first counts as 0."""
    total = 0.0
    times = [total]
    for step in steps_ms[1:]:
        total += step / 1000.0
        times.append(total)
    return tuple(times)


def _read_frame_period(data: Dataset) -> float | None:
    """Milliseconds from frame to frame."""
    period = read_first_number(data, "FrameTime", "ActualFrameDuration")
    if period and period > 0:
        return period
    rate = read_first_number(data, "RecommendedDisplayFrameRate", "CineRate")
    if rate and rate > 0:
        return 1000.0 / rate
    return None


# --- frames --------------------------------------------------------------------------------------


def _parse_frame(file: DicomInstance, data: Dataset, index: int) -> Frame:
    measures = functional_group(data, index, "PixelMeasuresSequence")
    transform = functional_group(data, index, "PixelValueTransformationSequence")
    plane = functional_group(data, index, "PlanePositionSequence")
    orientation = functional_group(data, index, "PlaneOrientationSequence")
    position = plane.get("ImagePositionPatient")
    if file.frames > 1 and not data.get("PerFrameFunctionalGroupsSequence"):
        position = None  # one position cannot be that of many frames
    slope = parse_number(transform.get("RescaleSlope"))
    if slope == 0:
        raise ReadError(
            f"{file.path} has a RescaleSlope of 0, which makes all voxels equal; "
            "export the scan again"
        )
    if slope is None:
        slope = 1.0
    thickness = read_first_number(measures, "SpacingBetweenSlices", "SliceThickness")
    return Frame(
        file=file,
        index=index,
        position=parse_vector(position, 3),
        orientation=parse_vector(orientation.get("ImageOrientationPatient"), 6),
        spacing=read_spacing(measures)[0],
        thickness=abs(thickness) if thickness else None,
        slope=slope,
        intercept=parse_number(transform.get("RescaleIntercept")) or 0.0,
        window=read_window(functional_group(data, index, "FrameVOILUTSequence")),
        order=_read_order_keys(data, index),
    )


def _read_order_keys(data: Dataset, index: int) -> OrderKeys:
    content = functional_group(data, index, "FrameContentSequence")
    heart = functional_group(data, index, "CardiacSynchronizationSequence")
    echo = functional_group(data, index, "MREchoSequence")
    diffusion = functional_group(data, index, "MRDiffusionSequence")
    file_stamp = read_text(data, "AcquisitionDateTime")
    stamp = read_text(content, "FrameAcquisitionDateTime", file_stamp)
    acquisition_time = read_text(data, "AcquisitionTime", stamp[8:]).partition("+")[0]
    echo_time = parse_number(echo.get("EffectiveEchoTime")) or parse_number(data.get("EchoTime"))
    instance = parse_number(data.get("InstanceNumber"))
    if instance is not None or index > 0:
        instance = (instance or 0) + index * 1e-7  # frames of one file, in their order
    heart_delay = heart.get("NominalCardiacTriggerDelayTime")
    keys = {
        "TemporalPositionIndex": parse_number(content.get("TemporalPositionIndex")),
        "TemporalPositionIdentifier": parse_number(data.get("TemporalPositionIdentifier")),
        "TriggerTime": parse_number(data.get("TriggerTime")),
        "NominalCardiacTriggerDelayTime": parse_number(heart_delay),
        "EchoTime": echo_time,
        "DiffusionBValue": parse_number(diffusion.get("DiffusionBValue")),
        "FrameReferenceTime": parse_number(data.get("FrameReferenceTime")),
        "AcquisitionNumber": parse_number(data.get("AcquisitionNumber")),
        "AcquisitionTime": parse_time(acquisition_time),
        "ContentTime": parse_time(read_text(data, "ContentTime")),
        "ImageType": "\\".join(map(str, read_items(data, "ImageType"))) or None,
        "InstanceNumber": instance,
    }
    return {name: value for name, value in keys.items() if value is not None}
