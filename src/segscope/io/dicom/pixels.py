"""DICOM pixels: one frame at a time, decoded when asked for, as values after the modality
transform.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segscope.arrays import Pixels, PixelType
from segscope.errors import MissingExtra, ReadError
from segscope.io.base import reading
from segscope.io.dicom.files import DEFLATED, quiet, read_header
from segscope.io.dicom.palette import apply_palette
from segscope.io.dicom.records import BIG_ENDIAN, NATIVE, DicomInstance, Frame, Tile
from segscope.io.frame_source import LazyFrames

_EXACT_IN_FLOAT32 = 2**24
_IMAGE_TAGS = (
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
)  # fmt: skip


class DicomFrames(LazyFrames):
    """Frames of DICOM files; nothing but the last mosaic stays in memory between two accesses.

    Args:
        frames: in their final order, all of one size.
    """

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = tuple(frames)
        shape: tuple[int, ...] = (len(self.frames), *self.frames[0].size_hw)
        if self.frames[0].file.is_colour:
            shape = (*shape, 3)
        super().__init__(shape, common_type(self.frames))
        self._mosaic: tuple[DicomInstance, Pixels] | None = None

    def read_frame(self, index: int) -> Pixels:
        frame = self.frames[index]
        stored = self._decode(frame)
        if stored.shape != self.shape[1:]:
            raise ReadError(
                f"{frame.file.path} decodes to {stored.shape}, but its header says "
                f"{self.shape[1:]}; the file is damaged, or was changed after it was opened"
            )
        return _apply_modality(frame, stored, self.dtype)

    def _decode(self, frame: Frame) -> Pixels:
        if frame.tile is None:
            return decode_frame(frame.file, frame.index)
        mosaic = self._mosaic
        if mosaic is None or mosaic[0] is not frame.file:
            mosaic = (frame.file, decode_frame(frame.file, frame.index))
            self._mosaic = mosaic
        return _cut_out(mosaic[1], frame.tile)


def _cut_out(image: Pixels, tile: Tile) -> Pixels:
    rows = slice(tile.row, tile.row + tile.rows)
    columns = slice(tile.column, tile.column + tile.columns)
    return image[rows, columns]


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
        elif file.is_colour or is_identity:
            types.append(_stored_type(file))
        else:
            rescaled.add(file, slope, intercept)
            types.append(rescaled.type())
    return np.result_type(*types)


def _stored_type(file: DicomInstance) -> PixelType:
    """Type of decoded pixels that are not rescaled."""
    if file.is_palette or file.bits_allocated == 1:
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
    if file.is_colour or (frame.slope, frame.intercept) == (1, 0):
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
    from pydicom.pixels import pixel_array

    with reading(file.path, "DICOM pixels"), quiet():
        header = pydicom.Dataset() if file.is_palette else None
        options: dict[str, Any] = dict(file.decoder_options)
        if file.unused_low_bits:
            options |= {"bits_stored": file.bits_allocated, "pixel_representation": 0}
        try:
            if file.syntax == DEFLATED:
                header = pydicom.dcmread(file.path)
                pixels = pixel_array(header, index=index, **options)
            else:
                pixels = pixel_array(
                    file.path,
                    ds_out=header,
                    index=index,
                    transfer_syntax_uid=file.syntax,
                    **options,
                )
        except Exception as error:  # a missing plug-in and a damaged stream look alike here
            if file.syntax in (*NATIVE, DEFLATED):
                raise
            pixels = _decode_by_simpleitk(file, index, error)
        if file.unused_low_bits:
            pixels = _align_to_lowest_bit(file, pixels)
        if header is None or not file.is_palette:
            return pixels
        return apply_palette(header, pixels, is_big_endian=file.syntax == BIG_ENDIAN)


def _align_to_lowest_bit(file: DicomInstance, words: Pixels) -> Pixels:
    """The stored values of unsigned words, whose highest bit is not that of the values.

    Raises:
        ReadError: there is something below the values, so the header may be wrong.
    """
    shift = file.unused_low_bits
    if (words & (2**shift - 1)).any():
        raise ReadError(
            f"{file.path} has its highest bit at {file.bits_stored - 1 + shift} (HighBit) for "
            f"{file.bits_stored} stored bits, but the bits below are not empty, so its values are "
            "ambiguous; export it again"
        )
    above = file.bits_allocated - file.bits_stored - shift
    values = words << above
    if file.signed:
        values = values.view(f"i{words.itemsize}")
    return values >> (above + shift)


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
