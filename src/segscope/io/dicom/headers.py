"""DICOM headers as plain records: one `Frame` for each image in a file, without touching pixels.

Everything here comes from untrusted files: values that do not parse become None or a ReadError,
never a guess.
"""

from __future__ import annotations

import math
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segscope.errors import ReadError
from segscope.io.base import MAX_BYTES, check_declared
from segscope.io.byte_sources import reading

Vector = tuple[float, ...]

MAX_FILES = 200_000
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
LABELMAP_SEG = "1.2.840.10008.5.1.4.1.1.66.7"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
DEFLATED = "1.2.840.10008.1.2.1.99"
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_VIDEO_SYNTAXES = "1.2.840.10008.1.2.4.10"  # MPEG-2, MPEG-4, HEVC: ...4.100 to ...4.108
_IMAGES_WITHOUT_FRAMES = {
    SEG: "a segmentation: read it as masks (read_masks, --mask), together with its scan",
    LABELMAP_SEG: "a segmentation: read it as masks (read_masks, --mask), together with its scan",
    RTSTRUCT: "a structure set of contours: read it as masks (read_masks, --mask), together with its scan",
    "1.2.840.10008.5.1.4.1.1.77.1.6": "a whole slide in tiles: convert it to a pyramidal TIFF and read that",
    "1.2.840.10008.5.1.4.1.1.481.2": "a radiotherapy dose, not a image: read the CT it was planned on",
}
_TAGS = """
SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID SeriesNumber SeriesDescription Modality InstanceNumber
FrameOfReferenceUID ImageType Rows Columns SamplesPerPixel PhotometricInterpretation BitsAllocated BitsStored
PixelRepresentation NumberOfFrames PlanarConfiguration ImagePositionPatient ImageOrientationPatient PixelSpacing
ImagerPixelSpacing NominalScannedPixelSpacing SliceThickness SpacingBetweenSlices GantryDetectorTilt RescaleSlope
RescaleIntercept RescaleType WindowCenter WindowWidth FrameTime FrameTimeVector RecommendedDisplayFrameRate CineRate
FrameIncrementPointer ActualFrameDuration SequenceOfUltrasoundRegions TemporalPositionIdentifier TriggerTime
NominalCardiacTriggerDelayTime EchoTime EchoNumbers DiffusionBValue FrameReferenceTime AcquisitionNumber
AcquisitionDateTime AcquisitionDate AcquisitionTime ContentTime SharedFunctionalGroupsSequence
PerFrameFunctionalGroupsSequence SpecificCharacterSet ModalityLUTSequence
""".split()  # noqa: SIM905 - forty names read better without quotes

_quiet_lock = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's remarks on sloppy values off the terminal; what matters is checked by
    ourselves.
    """
    with _quiet_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@dataclass(frozen=True, slots=True, eq=False)
class DicomFile:
    """What all frames of one file share."""

    path: Path
    syntax: str
    sop_class: str
    sop_uid: str
    study_uid: str
    series_uid: str
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

    file: DicomFile
    index: int
    position: Vector | None
    orientation: Vector | None
    spacing: Vector | None
    thickness: float | None
    slope: float
    intercept: float
    window: tuple[float, float] | None
    order: dict[str, Any]


def looks_like_dicom(path: Path) -> bool:
    """Whether the first bytes are those of a DICOM file, with or without its preamble."""
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError:
        return False
    if head[128:132] == b"DICM":
        return True
    little = head[:2] in (b"\x02\x00", b"\x08\x00")
    big = head[:2] in (b"\x00\x02", b"\x00\x08")
    group_length = head[2:4] in (b"\x00\x00", b"\x01\x00", b"\x00\x01", b"\x05\x00", b"\x00\x05", b"\x08\x00",
                                 b"\x00\x08", b"\x16\x00", b"\x00\x16")  # fmt: skip
    return len(head) >= 12 and (little or big) and group_length


def files_below(folder: Path) -> list[Path]:
    """All files of a folder and its sub-folders in a stable order; hidden ones are left out."""
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(parent, name) for name in sorted(names) if not name.startswith(".")]
        if len(found) > MAX_FILES:
            raise ReadError(
                f"{folder} holds more than {MAX_FILES:,} files; name the folder of one series"
            )
    return found


def read_header(path: Path, tags: list[str] | None = None) -> Any:
    """The pydicom data set of a file without its pixels; call it inside `quiet`."""
    import pydicom

    with reading(path, "a DICOM file"):
        syntax = None
        if _has_preamble(path):
            syntax = pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID")
        if str(syntax) == DEFLATED and path.stat().st_size * 1030 > MAX_BYTES:
            raise ReadError(
                f"{path} is deflated as a whole and could inflate beyond the limit; decompress it first"
            )
        with path.open("rb") as file:
            data = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=tags)
            if str(syntax) != DEFLATED:
                data.pixels_start = file.tell()
        return data


def _has_preamble(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_frames(path: Path) -> list[Frame] | str:
    """Frames of one DICOM file, or the reason why it holds none.

    Raises:
        ReadError: damaged, cut off, or larger than the limits.
    """
    with quiet():
        data = read_header(path, _TAGS)
        with reading(path, "a DICOM file"):
            reason = _IMAGES_WITHOUT_FRAMES.get(str(data.get("SOPClassUID", "")))
            if reason is None and data.get("Rows") is None and data.get("Columns") is None:
                if _should_be_image(data):
                    raise ReadError(
                        f"{path} is no DICOM file, or is cut off in its header; copy or export it again, or remove it"
                    )
                reason = "not an image"
            if reason is not None:
                return reason
            file = _file_of(path, data)
            return [_frame_of(file, data, index) for index in range(file.frames)]


def _should_be_image(data: Any) -> bool:
    """Whether a file without a size is a damaged image, rather than a plan, a report or a list of
    files.
    """
    kind = data.get("SOPClassUID") or getattr(data, "file_meta", {}).get("MediaStorageSOPClassUID")
    return kind is None or "Image Storage" in getattr(kind, "name", "")


def number(value: Any) -> float | None:
    """A finite number, the first of several; None when absent or unreadable."""
    try:
        if value is None or value == "":
            return None
        if not isinstance(value, (int, float, str)):
            value = value[0]
        found = float(value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if math.isfinite(found):
        return found
    return None


def vector(value: Any, length: int) -> Vector | None:
    """As many finite numbers as wanted; None when absent or unreadable."""
    try:
        numbers = tuple(float(part) for part in value)
    except (TypeError, ValueError):
        return None
    if len(numbers) == length and all(map(math.isfinite, numbers)):
        return numbers
    return None


def plain_text(value: Any) -> str:
    """A short text from a file, fit for a message."""
    text = "".join(character if character.isprintable() else " " for character in str(value or ""))
    return " ".join(text.split())[:64]


def _file_of(path: Path, data: Any) -> DicomFile:
    syntax = _syntax_of(data)
    samples = int(data.get("SamplesPerPixel") or 1)
    bits = int(data.get("BitsAllocated") or 0)
    frames = int(number(data.get("NumberOfFrames")) or 1)
    photometric = str(data.get("PhotometricInterpretation") or "MONOCHROME2").strip().upper()
    if bits not in (1, 8, 16, 32, 64) or samples not in (1, 3):
        raise ReadError(
            f"{path} declares {samples} samples of {bits} bits a pixel; 1 or 3 samples of 1, 8, 16, 32 or 64 bits can "
            "be read. The file is damaged or of an unusual kind: export it again."
        )
    if "MOSAIC" in [str(part).upper() for part in data.get("ImageType") or []]:
        raise ReadError(
            f"{path} is a mosaic: all slices of a volume as tiles of one image, placed by private elements. Convert "
            "it to NIfTI first (dcm2niix does it)."
        )
    rows = int(data.Rows or 0)
    columns = int(data.Columns or 0)
    check_declared(
        path,
        (frames, rows, columns, 3 if photometric == "PALETTE COLOR" else samples),
        max(bits // 8, 1),
    )
    _check_size(path, data, syntax, (frames, rows, columns, samples), bits, photometric)
    times, is_clip = _clip_times(data, frames)
    return DicomFile(
        path, syntax, str(data.get("SOPClassUID", "")), str(data.get("SOPInstanceUID", "")),
        str(data.get("StudyInstanceUID", "")), str(data.get("SeriesInstanceUID", "")),
        int(number(data.get("SeriesNumber")) or 0), plain_text(data.get("SeriesDescription")),
        plain_text(data.get("Modality")) or None, rows, columns, samples, photometric, bits,
        int(data.get("BitsStored") or bits), bool(data.get("PixelRepresentation") or 0),
        str(data.get("SOPClassUID", "")) == "1.2.840.10008.5.1.4.1.1.30" and bits >= 32, frames,
        bool(data.get("ModalityLUTSequence")), _spacing(data)[1], times, is_clip,
    )  # fmt: skip


def _syntax_of(data: Any) -> str:
    named = getattr(data, "file_meta", {}).get("TransferSyntaxUID")
    if named:
        return str(named)
    implicit, little = data.original_encoding
    if implicit:
        return NATIVE[0]
    if little:
        return NATIVE[1]
    return NATIVE[2]


def _check_size(
    path: Path, data: Any, syntax: str, shape: tuple[int, ...], bits: int, photometric: str
) -> None:
    """Refuse a file that ends before its pixels do, before anybody works on it."""
    if syntax.startswith(_VIDEO_SYNTAXES) and len(syntax) > len(_VIDEO_SYNTAXES):
        raise ReadError(
            f"{path} holds an MPEG video inside DICOM; export the video stream and read that"
        )
    if syntax == DEFLATED:
        return
    size = path.stat().st_size - int(data.pixels_start)
    if syntax in NATIVE:
        wanted = math.prod(shape) * bits // 8
        if photometric in ("YBR_FULL_422", "YBR_PARTIAL_422"):
            wanted = wanted * 2 // 3
    else:
        wanted = 8 * shape[0]  # no frame is shorter than the mark before it
    ended = syntax in NATIVE or _has_end_mark(path, int(data.pixels_start))
    if size < wanted or not ended:
        raise ReadError(
            f"{path} is cut off or holds no pixels: {' x '.join(map(str, shape[:3]))} (frames x rows x columns) of "
            f"{bits} bits need {wanted:,} bytes{'' if ended else ' and a mark at their end'}, the file has {size:,} "
            "after its header. Copy or export it again."
        )


def _has_end_mark(path: Path, start: int) -> bool:
    """Whether compressed pixels come to their sequence delimiter; decoders fill up what is missing
    without a word.
    """
    with path.open("rb") as file:
        file.seek(max(start, path.stat().st_size - 2**16))
        return b"\xfe\xff\xdd\xe0" in file.read()


def _clip_times(data: Any, frames: int) -> tuple[Vector | None, bool]:
    """Seconds of each frame from the cine tags, and whether the file says that its frames follow in
    time.
    """
    if frames < 2:
        return None, False
    steps = vector(data.get("FrameTimeVector"), frames)
    if steps is not None and all(step >= 0 for step in steps):
        total = 0.0
        times = []
        for step in (0.0, *steps[1:]):
            total += step / 1000.0
            times.append(total)
        return tuple(times), True
    period = number(data.get("FrameTime")) or number(data.get("ActualFrameDuration"))
    rate = number(data.get("RecommendedDisplayFrameRate")) or number(data.get("CineRate"))
    if not (period and period > 0) and rate and rate > 0:
        period = 1000.0 / rate
    if period and period > 0:
        return tuple(index * period / 1000.0 for index in range(frames)), True
    return None, str(data.get("Modality") or "") in ("US", "IVUS", "XA", "RF", "ES", "GM")


def _spacing(data: Any) -> tuple[Vector | None, str]:
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        spacing = vector(data.get(name), 2)
        if spacing is not None and min(spacing) > 0:
            return spacing, name
    regions = data.get("SequenceOfUltrasoundRegions") or []
    deltas = {
        (number(region.get("PhysicalDeltaY")), number(region.get("PhysicalDeltaX")))
        for region in regions
        if region.get("PhysicalUnitsXDirection") == 3 and region.get("PhysicalUnitsYDirection") == 3
    }
    if (
        len(regions) == 1 and len(deltas) == 1
    ):  # two regions may have two scales, and neither is the image's
        y, x = next(iter(deltas))
        if y and x:
            return (abs(y) * 10.0, abs(x) * 10.0), "ultrasound region"
    return None, ""


def group_of(data: Any, index: int, name: str) -> Any:
    """First item of a functional group of one frame: its own, else the shared one, else the data
    set itself.
    """
    own = data.get("PerFrameFunctionalGroupsSequence") or []
    shared = data.get("SharedFunctionalGroupsSequence") or []
    for holder in (own[index : index + 1], shared[:1]):
        items = None
        if len(holder):
            items = holder[0].get(name)
        if items:
            return items[0]
    if not own:
        return data
    return {}


def _frame_of(file: DicomFile, data: Any, index: int) -> Frame:
    measures = group_of(data, index, "PixelMeasuresSequence")
    values = group_of(data, index, "PixelValueTransformationSequence")
    position = group_of(data, index, "PlanePositionSequence").get("ImagePositionPatient")
    orientation = group_of(data, index, "PlaneOrientationSequence").get("ImageOrientationPatient")
    if file.frames > 1 and not data.get("PerFrameFunctionalGroupsSequence"):
        position = None  # one position cannot be that of many frames
    if measures is not data:
        spacing = _spacing(measures)[0]
    else:
        spacing = _spacing(data)[0]
    slope = number(values.get("RescaleSlope"))
    intercept = number(values.get("RescaleIntercept"))
    if slope == 0:
        raise ReadError(
            f"{file.path} has a RescaleSlope of 0, which makes all voxels equal; export the scan again"
        )
    thickness = number(measures.get("SpacingBetweenSlices")) or number(
        measures.get("SliceThickness")
    )
    return Frame(
        file, index, vector(position, 3), vector(orientation, 6), spacing,
        abs(thickness) if thickness else None, 1.0 if slope is None else slope, intercept or 0.0,
        _window(group_of(data, index, "FrameVOILUTSequence")), _order_of(data, index),
    )  # fmt: skip


def _window(values: Any) -> tuple[float, float] | None:
    centre = number(values.get("WindowCenter"))
    width = number(values.get("WindowWidth"))
    if centre is None or width is None or width <= 0:
        return None
    return (centre - width / 2, centre + width / 2)


def seconds_of(text: str) -> float | None:
    """Seconds since midnight of a DICOM time HHMMSS.ffffff."""
    try:
        return int(text[:2]) * 3600 + int(text[2:4] or 0) * 60 + float(text[4:] or 0)
    except ValueError:
        return None


def _order_of(data: Any, index: int) -> dict[str, Any]:
    content = group_of(data, index, "FrameContentSequence")
    heart = group_of(data, index, "CardiacSynchronizationSequence")
    echo = group_of(data, index, "MREchoSequence")
    stamp = str(content.get("FrameAcquisitionDateTime") or data.get("AcquisitionDateTime") or "")
    clock = str(data.get("AcquisitionTime") or stamp[8:] or "").partition("+")[0]
    found = {
        "TemporalPositionIndex": number(content.get("TemporalPositionIndex")),
        "TemporalPositionIdentifier": number(data.get("TemporalPositionIdentifier")),
        "TriggerTime": number(data.get("TriggerTime")),
        "NominalCardiacTriggerDelayTime": number(heart.get("NominalCardiacTriggerDelayTime")),
        "EchoTime": number(echo.get("EffectiveEchoTime")) or number(data.get("EchoTime")),
        "DiffusionBValue": number(
            group_of(data, index, "MRDiffusionSequence").get("DiffusionBValue")
        ),
        "FrameReferenceTime": number(data.get("FrameReferenceTime")),
        "AcquisitionNumber": number(data.get("AcquisitionNumber")),
        "AcquisitionTime": seconds_of(clock) if clock else None,
        "ContentTime": seconds_of(str(data.get("ContentTime") or ""))
        if data.get("ContentTime")
        else None,
        "ImageType": "\\".join(map(str, data.get("ImageType") or [])) or None,
        "InstanceNumber": (number(data.get("InstanceNumber")) or 0) + index * 1e-7,
    }
    if number(data.get("InstanceNumber")) is None and index == 0:
        found["InstanceNumber"] = None
    return {name: value for name, value in found.items() if value is not None}
