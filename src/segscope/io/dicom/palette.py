"""Palettes of DICOM images: stored numbers to RGB."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from segscope.arrays import Pixels

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_COLOURS = ("Red", "Green", "Blue")


def apply_palette(header: Dataset, pixels: Pixels, *, is_big_endian: bool) -> Pixels:
    """The colours (row, column, 3) of stored numbers, uint8.

    Tables declared to have 16 bits hold 8-bit values in some files (older ultrasound): colours are
    scaled by 16 bits only if one value of the three tables needs them.

    Args:
        header: pydicom data set with the tables.
        pixels: numbers of table entries, (row, column).
        is_big_endian: whether the file stores words of 16 bits with the high byte first.
    """
    from pydicom.pixels import apply_color_lut

    if is_big_endian:
        header = _with_native_words(header)
    colours: Pixels = apply_color_lut(pixels, header)[..., :3]
    if colours.dtype.itemsize == 1:
        return colours
    count, first = header.RedPaletteColorLookupTableDescriptor[:2]
    entries = np.arange(first, first + (count or 2**16), dtype=np.int32)
    if apply_color_lut(entries, header)[..., :3].max() > 255:
        colours = colours >> 8
    return colours.astype(np.uint8)


def _with_native_words(header: Dataset) -> Dataset:
    """The header with its words in the byte order of this machine.

    pydicom expects that of tables without segments.
    """
    from pydicom.dataset import Dataset

    native = Dataset()
    native.update(header)
    native.file_meta = header.file_meta
    for colour in _COLOURS:
        name = f"{colour}PaletteColorLookupTableData"
        entries = int(header[f"{colour}PaletteColorLookupTableDescriptor"].value[0] or 2**16)
        table = header.get(name)
        if table and len(table) >= 2 * entries:
            setattr(native, name, np.frombuffer(table, ">u2").astype("=u2").tobytes())
    return native
