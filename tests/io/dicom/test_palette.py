"""Palettes of DICOM images, in every form that files store them in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian
from support.dicom_files import header, save, set_pixels

from segscope import io

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
TABLES = np.random.default_rng(4).integers(0, 256, (3, 256)).astype(np.uint8)
PIXELS = np.random.default_rng(5).integers(0, 256, (8, 10)).astype(np.uint8)
COLOURS = np.moveaxis(TABLES[:, PIXELS], 0, -1)


def palette_image(bits: int, tables: np.ndarray) -> pydicom.Dataset:
    data = header(
        SECONDARY_CAPTURE,
        "US",
        PhotometricInterpretation="PALETTE COLOR",
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
    )
    for colour, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        name = f"{colour}PaletteColorLookupTable"
        setattr(data, f"{name}Descriptor", [256, 0, bits])
        setattr(data, f"{name}Data", table.tobytes())
        data[f"{name}Data"].VR = "OW"
    return set_pixels(data, PIXELS)


@pytest.mark.parametrize(
    ("bits", "tables"),
    [
        (8, TABLES),
        (16, TABLES.astype(np.uint16) * 257),
        (16, TABLES.astype(np.uint16) << 8),
        (16, TABLES),
        (16, TABLES.astype(np.uint16)),
    ],
    ids=["8 bits", "16 bits", "high bytes", "bytes declared as words", "8-bit values in words"],
)
def test_colours_have_8_bits(tmp_path: Path, bits: int, tables: np.ndarray) -> None:
    stack = io.read(save(palette_image(bits, tables), tmp_path / "us.dcm"))
    assert np.array_equal(stack[0], COLOURS)


@pytest.mark.parametrize("scale", [1, 257])
def test_words_of_a_big_endian_file_are_swapped(tmp_path: Path, scale: int) -> None:
    tables = (TABLES.astype(np.uint16) * scale).astype(">u2")
    data = palette_image(16, tables)
    data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    path = tmp_path / "us.dcm"
    data.save_as(path, implicit_vr=False, little_endian=False, enforce_file_format=True)
    assert np.array_equal(io.read(path)[0], COLOURS)


def test_one_large_value_of_any_table_scales_all(tmp_path: Path) -> None:
    tables = TABLES.astype(np.uint16)
    tables[1, 0] = 0xFF00
    stack = io.read(save(palette_image(16, tables), tmp_path / "us.dcm"))
    assert stack[0].max() <= 255
    assert (stack[0][PIXELS != 0] == 0).all()
