"""DICOM pixels: one frame at a time, decoded when asked for, as values after the modality
transform.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from segscope.arrays import Pixels, PixelType
from segscope.errors import MissingExtra, ReadError
from segscope.io.base import reading
from segscope.io.dicom.files import DEFLATED, quiet, read_header
from segscope.io.dicom.headers import NATIVE, DicomInstance, Frame
from segscope.io.frame_source import LazyFrames

_EXACT_IN_FLOAT32 = 2**24
_IMAGE_TAGS = (
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
)  # fmt: skip


class DicomFrames(LazyFrames):
    """Frames of DICOM files; nothing stays in memory between two accesses.

    Args:
        frames: in their final order, all of one size.
    """

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = tuple(frames)
        file = self.frames[0].file
        shape: tuple[int, ...] = (len(self.frames), file.rows, file.columns)
        if _is_colour(file):
            shape = (*shape, 3)
        super().__init__(shape, common_type(self.frames))

    def read_frame(self, index: int) -> Pixels:
        frame = self.frames[index]
        stored = decode_frame(frame.file, frame.index)
        if stored.shape != self.shape[1:]:
            raise ReadError(
                f"{frame.file.path} decodes to {stored.shape}, but its header says "
                f"{self.shape[1:]}; the file is damaged, or was changed after it was opened"
            )
        return _apply_modality(frame, stored, self.dtype)


def _is_palette(file: DicomInstance) -> bool:
    return file.photometric == "PALETTE COLOR"


def _is_colour(file: DicomInstance) -> bool:
    return file.samples == 3 or _is_palette(file)


# --- types ---------------------------------------------------------------------------------------


def common_type(frames: Iterable[Frame]) -> PixelType:
    """The smallest type that holds every value of all frames after the modality transform exactly.

    Fractional slopes give float32 (float64 for more than 24 stored bits), which rounds as any
    reader does.
    """
    transforms = {(frame.file, frame.slope, frame.intercept) for frame in frames}
    types = []
    rescaled = _ValueRange()
    for file, slope, intercept in transforms:
        is_identity = (slope, intercept) == (1, 0)
        if file.floating or file.bits_allocated == 64:
            types.append(np.dtype(np.float64 if file.bits_allocated == 64 else np.float32))
        elif file.has_modality_lut:
            types.append(np.dtype(np.uint16))
        elif _is_colour(file) or is_identity:
            types.append(_stored_type(file))
        else:
            rescaled.add(file, slope, intercept)
            types.append(rescaled.type())
    return np.result_type(*types)


def _stored_type(file: DicomInstance) -> PixelType:
    """Type of decoded pixels that are not rescaled."""
    if _is_palette(file) or file.bits_allocated == 1:
        return np.dtype(np.uint8)
    sign = "i" if file.signed else "u"
    return np.dtype(f"{sign}{file.bits_allocated // 8}")


class _ValueRange:
    """The range that rescaled values of several files may span."""

    def __init__(self) -> None:
        self.low = 0.0
        self.high = 0.0
        self.is_fractional = False

    def add(self, file: DicomInstance, slope: float, intercept: float) -> None:
        """Widen the range by the values that a file may store."""
        stored = (0, 2**file.bits_stored - 1)
        if file.signed:
            half = 2 ** (file.bits_stored - 1)
            stored = (-half, half - 1)
        ends = [value * slope + intercept for value in stored]
        self.low = min(self.low, *ends)
        self.high = max(self.high, *ends)
        self.is_fractional |= not (float(slope).is_integer() and float(intercept).is_integer())

    def type(self) -> PixelType:
        """The smallest type for all of it."""
        if not self.is_fractional and -(2**15) <= self.low <= self.high < 2**15:
            return np.dtype(np.int16)
        if self.is_fractional or max(-self.low, self.high) <= _EXACT_IN_FLOAT32:
            return np.dtype(np.float32)
        return np.dtype(np.float64)


# --- modality transform --------------------------------------------------------------------------


def _apply_modality(frame: Frame, stored: Pixels, dtype: PixelType) -> Pixels:
    file = frame.file
    if file.has_modality_lut:
        return _apply_lookup_table(file, stored).astype(dtype)
    if _is_colour(file) or (frame.slope, frame.intercept) == (1, 0):
        return stored.astype(dtype)
    values = stored.astype(np.float64) * frame.slope + frame.intercept
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        if values.min() < bounds.min or values.max() > bounds.max:
            raise ReadError(
                f"{file.path} holds values beyond the {file.bits_stored} bits it declares; "
                "it is damaged"
            )
    return values.astype(dtype)


def _apply_lookup_table(file: DicomInstance, stored: Pixels) -> Pixels:
    from pydicom.pixels import apply_modality_lut

    with quiet(), reading(file.path, "a DICOM file"):
        header = read_header(file.path, ["ModalityLUTSequence"])
        values: Pixels = apply_modality_lut(stored, header)
        return values


# --- decoding ------------------------------------------------------------------------------------


def decode_frame(file: DicomInstance, index: int) -> Pixels:
    """Frame `index` of a file as stored, (row, column[, 3]); colours are RGB.

    Raises:
        ReadError: damaged pixels.
        MissingExtra: a compression that needs an optional package.
    """
    import pydicom
    from pydicom.pixels import apply_color_lut, pixel_array

    with reading(file.path, "DICOM pixels"), quiet():
        header = pydicom.Dataset() if _is_palette(file) else None
        try:
            if file.syntax == DEFLATED:
                header = pydicom.dcmread(file.path)
                pixels = pixel_array(header, index=index)
            else:
                pixels = pixel_array(
                    file.path, ds_out=header, index=index, transfer_syntax_uid=file.syntax
                )
        except Exception as error:  # a missing plug-in and a damaged stream look alike here
            if file.syntax in (*NATIVE, DEFLATED):
                raise
            pixels = _decode_by_simpleitk(file, index, error)
        if header is None or not _is_palette(file):
            return pixels
        colours = apply_color_lut(pixels, header)
        if colours.dtype.itemsize == 2:
            return (colours >> 8).astype(np.uint8)
        return colours


def _decode_by_simpleitk(file: DicomInstance, index: int, cause: Exception) -> Pixels:
    """Decode one frame by GDCM, from a temporary file with that frame alone, so that it rescales
    nothing.
    """
    from pydicom.uid import UID

    syntax_name = UID(file.syntax).name
    reason = " ".join(str(cause).split())[:160]
    try:
        import SimpleITK
    except ImportError:
        raise MissingExtra(
            f"{file.path} is compressed as {syntax_name} ({file.syntax}), which could not be "
            f"decoded ({reason}). Install another decoder with: pip install 'segscope[itk]', or "
            "decompress the file first."
        ) from cause
    with tempfile.TemporaryDirectory(prefix="segscope-") as folder:
        single = Path(folder, "frame.dcm")
        _write_single_frame(file, index, single)
        try:
            reader = SimpleITK.ImageFileReader()
            reader.SetImageIO("GDCMImageIO")
            reader.SetFileName(str(single))
            pixels = SimpleITK.GetArrayFromImage(reader.Execute())
        except RuntimeError as error:
            raise ReadError(
                f"{file.path}: frame {index} is damaged, or of a kind that neither pydicom nor "
                f"SimpleITK decodes ({syntax_name}: {reason}). Export the file again."
            ) from error
    if pixels.ndim > 2 and pixels.shape[0] == 1:
        pixels = pixels[0]
    return np.ascontiguousarray(pixels)


def _write_single_frame(file: DicomInstance, index: int, path: Path) -> None:
    import pydicom
    from pydicom.encaps import encapsulate, get_frame
    from pydicom.uid import UID, SecondaryCaptureImageStorage, generate_uid

    source = pydicom.dcmread(file.path, force=True)
    single = pydicom.Dataset()
    for name in _IMAGE_TAGS:
        if name in source:
            setattr(single, name, source[name].value)
    single.SOPClassUID = SecondaryCaptureImageStorage
    single.SOPInstanceUID = generate_uid()
    compressed = get_frame(source.PixelData, index, number_of_frames=file.frames)
    single.PixelData = encapsulate([compressed])
    single["PixelData"].VR = "OB"
    single["PixelData"].is_undefined_length = True
    single.file_meta = pydicom.dataset.FileMetaDataset()
    single.file_meta.TransferSyntaxUID = UID(file.syntax)
    single.save_as(path, enforce_file_format=True)
