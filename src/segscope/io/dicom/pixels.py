"""DICOM pixels: one frame at a time, decoded when asked for, as values after the modality
transform.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import MissingExtra, ReadError
from segscope.io.byte_sources import reading
from segscope.io.dicom.headers import DEFLATED, NATIVE, DicomFile, Frame, quiet
from segscope.io.frame_source import LazyFrames

_EXACT_IN_FLOAT32 = 2**24


class DicomFrames(LazyFrames):
    """Frames of DICOM files as a `FrameSource`; nothing is held in memory between two accesses.

    Args:
        frames: in their final order, all of one size.
    """

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = tuple(frames)
        file = self.frames[0].file
        colour = (3,) if _is_colour(file) else ()
        shape = (len(self.frames), file.rows, file.columns, *colour)
        super().__init__(shape, common_type(self.frames))

    def read_frame(self, index: int) -> NDArray[Any]:
        frame = self.frames[index]
        stored = stored_pixels(frame.file, frame.index)
        if stored.shape != self._shape[1:]:
            raise ReadError(
                f"{frame.file.path} decodes to {stored.shape}, its header says {self._shape[1:]}; the file is damaged "
                "or was changed after it was opened"
            )
        return _with_modality(frame, stored, self._dtype)


def _is_colour(file: DicomFile) -> bool:
    return file.samples == 3 or file.photometric == "PALETTE COLOR"


def common_type(frames: Sequence[Frame]) -> np.dtype[Any]:
    """The smallest type that holds every value of all frames after the modality transform exactly.

    Fractional slopes give float32 (float64 for more than 24 stored bits), which rounds as any
    reader does.
    """
    kinds = {(frame.file, frame.slope, frame.intercept) for frame in frames}
    types = []
    low = high = 0.0
    fractional = False
    for file, slope, intercept in kinds:
        if file.floating or file.bits_allocated == 64:
            types.append(np.dtype(np.float64 if file.bits_allocated == 64 else np.float32))
        elif file.has_modality_lut:
            types.append(np.dtype(np.uint16))
        elif _is_colour(file) or (slope == 1 and intercept == 0):
            palette = file.photometric == "PALETTE COLOR" or file.bits_allocated == 1
            bits = 8 if palette else file.bits_allocated
            types.append(np.dtype(f"{'i' if file.signed and not palette else 'u'}{bits // 8}"))
        else:
            ends = (-(2 ** (file.bits_stored - 1)), 2 ** (file.bits_stored - 1) - 1)
            ends = ends if file.signed else (0, 2**file.bits_stored - 1)
            values = [ends[0] * slope + intercept, ends[1] * slope + intercept]
            low = min(low, *values)
            high = max(high, *values)
            fractional |= not (float(slope).is_integer() and float(intercept).is_integer())
            types.append(_rescaled_type(low, high, fractional))
    return np.result_type(*types)


def _rescaled_type(low: float, high: float, fractional: bool) -> np.dtype[Any]:
    if not fractional and low >= -(2**15) and high < 2**15:
        return np.dtype(np.int16)
    small = fractional or max(-low, high) <= _EXACT_IN_FLOAT32
    return np.dtype(np.float32 if small else np.float64)


def _with_modality(frame: Frame, stored: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    file = frame.file
    if file.has_modality_lut:
        return _looked_up(file, stored).astype(dtype)
    if _is_colour(file) or (frame.slope == 1 and frame.intercept == 0):
        return stored.astype(dtype)
    values = stored.astype(np.float64) * frame.slope + frame.intercept
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        if values.min() < bounds.min or values.max() > bounds.max:
            raise ReadError(
                f"{file.path} holds values beyond the {file.bits_stored} bits it declares; it is damaged"
            )
    return values.astype(dtype)


def _looked_up(file: DicomFile, stored: NDArray[Any]) -> NDArray[Any]:
    from pydicom.pixels import apply_modality_lut

    from segscope.io.dicom.headers import read_header

    with quiet(), reading(file.path, "a DICOM file"):
        values: NDArray[Any] = apply_modality_lut(
            stored, read_header(file.path, ["ModalityLUTSequence"])
        )
        return values


def stored_pixels(file: DicomFile, index: int) -> NDArray[Any]:
    """Frame `index` of a file as stored, (row, column[, 3]); colours are RGB.

    Raises:
        ReadError: damaged pixels.
        MissingExtra: a compression that needs an optional package.
    """
    import pydicom
    from pydicom.pixels import apply_color_lut, pixel_array

    with reading(file.path, "DICOM pixels"), quiet():
        header = pydicom.Dataset() if file.photometric == "PALETTE COLOR" else None
        try:
            if file.syntax == DEFLATED:
                header = pydicom.dcmread(file.path)
                pixels = pixel_array(header, index=index)
            else:
                pixels = pixel_array(
                    file.path, ds_out=header, index=index, transfer_syntax_uid=file.syntax
                )
        except Exception as error:  # a missing plug-in and a damaged stream look alike here
            if _is_native(file.syntax):
                raise
            pixels = _by_simpleitk(file, index, error)
        if header is not None and file.photometric == "PALETTE COLOR":
            colours = apply_color_lut(pixels, header)
            if colours.dtype.itemsize == 2:
                return (colours >> 8).astype(np.uint8)
            return colours
        return pixels


def _is_native(syntax: str) -> bool:
    return syntax in (*NATIVE, DEFLATED)


def _by_simpleitk(file: DicomFile, index: int, cause: Exception) -> NDArray[Any]:
    """Decode one frame by GDCM. It gets a file of its own with that frame alone, so that it
    rescales nothing.
    """
    from pydicom.uid import UID

    try:
        import SimpleITK
    except ImportError:
        raise MissingExtra(
            f"{file.path} is compressed as {UID(file.syntax).name} ({file.syntax}), which could not be decoded "
            f"({' '.join(str(cause).split())[:160]}). Install a further decoder with: pip install 'segscope[itk]', or "
            "decompress the file first."
        ) from cause
    with tempfile.TemporaryDirectory(prefix="segscope-") as folder:
        single = Path(folder, "frame.dcm")
        _write_single(file, index, single)
        try:
            reader = SimpleITK.ImageFileReader()
            reader.SetImageIO("GDCMImageIO")
            reader.SetFileName(str(single))
            pixels = SimpleITK.GetArrayFromImage(reader.Execute())
        except RuntimeError as error:
            raise ReadError(
                f"{file.path}: frame {index} is damaged or of a kind that neither pydicom nor SimpleITK decodes "
                f"({UID(file.syntax).name}: {' '.join(str(cause).split())[:160]}). Export the file again."
            ) from error
    return np.ascontiguousarray(pixels[0] if pixels.shape[0] == 1 and pixels.ndim > 2 else pixels)


def _write_single(file: DicomFile, index: int, path: Path) -> None:
    import pydicom
    from pydicom.encaps import encapsulate, get_frame
    from pydicom.uid import UID, SecondaryCaptureImageStorage, generate_uid

    source = pydicom.dcmread(file.path, force=True)
    kept = pydicom.Dataset()
    for name in ("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns",
                 "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):  # fmt: skip
        if name in source:
            setattr(kept, name, source[name].value)
    kept.SOPClassUID = SecondaryCaptureImageStorage
    kept.SOPInstanceUID = generate_uid()
    kept.PixelData = encapsulate([get_frame(source.PixelData, index, number_of_frames=file.frames)])
    kept["PixelData"].VR = "OB"
    kept["PixelData"].is_undefined_length = True
    kept.file_meta = pydicom.dataset.FileMetaDataset()
    kept.file_meta.TransferSyntaxUID = UID(file.syntax)
    kept.save_as(path, enforce_file_format=True)
