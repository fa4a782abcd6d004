"""DICOM headers as plain records: what all frames of a file share, and what each frame has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from segscope.io.dicom.values import Vector

OrderKeys = dict[str, float | str]
"""Values that may tell apart frames at one position, by the name of their element."""

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
BIG_ENDIAN = "1.2.840.10008.1.2.2"


@dataclass(frozen=True, slots=True, eq=False)
class DicomInstance:
    """What all frames of one file share.

    Attributes:
        patient_hash: equal for files of one patient, "" without one; the identifier itself stays in
            the file.
        unused_low_bits: how many bits of a word lie below the stored ones (by HighBit).
        decoder_options: what a decoder needs and the header lacks.
        spacing_source: the element that gave the spacing of pixels, empty without one.
        times_s: seconds of each frame from the cine tags, or None.
        is_clip: whether the file says that its frames follow in time.
        notes: what the header contradicts or lacks, for the notes of a stack.
    """

    path: Path
    syntax: str
    sop_class: str
    sop_uid: str
    study_uid: str
    series_uid: str
    series_number: int
    patient_hash: str = field(repr=False)
    frame_of_reference: str
    description: str
    modality: str | None
    rows: int
    columns: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    unused_low_bits: int
    signed: bool
    floating: bool
    frames: int
    decoder_options: Mapping[str, int]
    has_modality_lut: bool
    spacing_source: str
    times_s: Vector | None
    is_clip: bool
    notes: tuple[str, ...]

    @property
    def is_palette(self) -> bool:
        return self.photometric == "PALETTE COLOR"

    @property
    def is_colour(self) -> bool:
        return self.samples == 3 or self.is_palette


@dataclass(frozen=True, slots=True)
class Tile:
    """The part of an image that one slice of a mosaic covers, in pixels."""

    row: int
    column: int
    rows: int
    columns: int


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
        padding: lowest and highest value of what is no part of the image, after the modality
            transform, or None.
        order: values that may tell apart frames at one position, by name.
        tile: where it lies in its image, if it is a slice of a mosaic.
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
    padding: tuple[float, float] | None
    order: OrderKeys
    tile: Tile | None = None

    @property
    def size_hw(self) -> tuple[int, int]:
        """Rows and columns."""
        if self.tile is not None:
            return (self.tile.rows, self.tile.columns)
        return (self.file.rows, self.file.columns)


@dataclass(frozen=True)
class NoFrames:
    """Why a DICOM file holds no frames.

    Attributes:
        reason: what it is instead, and what to do.
        holds_masks: whether it can be read as masks.
    """

    reason: str
    holds_masks: bool = False
