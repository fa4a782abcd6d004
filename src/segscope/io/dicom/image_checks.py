"""Which DICOM images can be read: refused from their headers, before anybody works on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from segscope.errors import ReadError
from segscope.io.dicom.files import DEFLATED
from segscope.io.dicom.records import NATIVE, DicomInstance
from segscope.io.dicom.values import parse_number, read_integer, read_text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

RLE = "1.2.840.10008.1.2.5"
_VIDEO_SYNTAXES = "1.2.840.10008.1.2.4.10"  # MPEG-2, MPEG-4, HEVC: ...4.100 to ...4.108
_UNSUPPORTED_COLOURS = ("HSV", "CMYK", "ARGB")


def is_video(syntax: str) -> bool:
    """Whether the pixels of a transfer syntax are one video stream."""
    return syntax.startswith(_VIDEO_SYNTAXES) and len(syntax) > len(_VIDEO_SYNTAXES)


def check_pixel_kind(path: Path, data: Dataset) -> None:
    """Refuse pixels of a kind that has no reader.

    Raises:
        ReadError: no size, or samples, bits or colours that cannot be read.
    """
    rows = read_integer(data, "Rows")
    columns = read_integer(data, "Columns")
    if not rows or not columns:
        raise ReadError(
            f"{path} declares {rows} x {columns} pixels (rows x columns); its header is damaged. "
            "Copy or export it again."
        )
    samples = read_integer(data, "SamplesPerPixel", 1)
    bits = read_integer(data, "BitsAllocated")
    if bits not in (1, 8, 16, 32, 64) or samples not in (1, 3):
        raise ReadError(
            f"{path} declares {samples} samples of {bits} bits per pixel; 1 or 3 samples of 1, 8, "
            "16, 32 or 64 bits can be read. The file is damaged or of an unusual kind: export it "
            "again."
        )
    stored = read_integer(data, "BitsStored", bits)
    if not 1 <= stored <= bits:
        raise ReadError(
            f"{path} declares {stored} stored bits (BitsStored) in {bits} allocated ones; "
            "the header is damaged. Export the file again."
        )
    photometric = read_text(data, "PhotometricInterpretation").strip().upper()
    if photometric in _UNSUPPORTED_COLOURS:
        raise ReadError(
            f"{path} has colours as {photometric}, which DICOM has retired and which cannot be "
            "read; export it as RGB"
        )


def find_unused_low_bits(data: Dataset, syntax: str) -> tuple[int, tuple[str, ...]]:
    """How many bits of a word lie below the stored ones, and a note on a HighBit that is ignored.

    The precision of a JPEG stream is its own; only words that are stored as they are can hold
    values that are not aligned to their lowest bit.
    """
    bits = read_integer(data, "BitsAllocated")
    stored = read_integer(data, "BitsStored", bits)
    high_bit = parse_number(data.get("HighBit"))
    if high_bit is None or high_bit == stored - 1 or syntax not in (*NATIVE, DEFLATED, RLE):
        return 0, ()
    if stored - 1 < high_bit < bits:
        return int(high_bit) - stored + 1, ()
    note = (
        f"HighBit {high_bit:g} contradicts {stored} stored bits in {bits} allocated ones: values "
        f"were read from the lowest {stored} bits"
    )
    return 0, (note,)


def check_size(file: DicomInstance, start: int) -> None:
    """Refuse a file that ends before its pixels do.

    Args:
        file: its header.
        start: where its pixels start, in bytes.

    Raises:
        ReadError: it is cut off, or holds no pixels.
    """
    if file.syntax == DEFLATED:
        return
    size = file.path.stat().st_size - start
    needs = ""
    if file.syntax in NATIVE:
        expected = file.frames * file.rows * file.columns * file.samples * file.bits_allocated // 8
        if file.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422"):
            expected = expected * 2 // 3
    else:
        expected = 8  # the marks around a stream
        if not is_video(file.syntax):
            expected *= file.frames  # no frame is shorter than the mark before it
        if not _has_end_mark(file.path, start):
            needs = " and a mark at their end"
    if size < expected or needs:
        raise ReadError(
            f"{file.path} is cut off or holds no pixels: {file.frames} x {file.rows} x "
            f"{file.columns} (frames x rows x columns) of {file.bits_allocated} bits need "
            f"{expected:,} bytes{needs}, but the file has {max(size, 0):,} after its header. Copy "
            "or export it again."
        )


def _has_end_mark(path: Path, start: int) -> bool:
    """Whether compressed pixels reach their sequence delimiter; decoders silently fill up what is
    missing.
    """
    with path.open("rb") as file:
        file.seek(max(start, path.stat().st_size - 2**16))
        return b"\xfe\xff\xdd\xe0" in file.read()
