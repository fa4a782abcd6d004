"""Remarks of tifffile: damage is refused, the rest is noted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.tiff_files import RGB, YX, make

from segscope import io
from segscope.errors import ReadError
from segscope.io.tiff.remarks import notes_of, refuse_lost_data

EXTRA_SAMPLES_TAG = 338


def test_an_unknown_kind_of_extra_sample_is_no_damage(tmp_path: Path) -> None:
    pixels = np.concatenate([RGB, RGB[..., :1]], -1)
    path = make(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unspecified"])
    data = bytearray(path.read_bytes())
    entry = data.index(EXTRA_SAMPLES_TAG.to_bytes(2, "little") + b"\x03\x00")
    data[entry + 8 : entry + 10] = (999).to_bytes(2, "little")
    path.write_bytes(data)
    stack = io.read(path)
    np.testing.assert_array_equal(stack[0], pixels)
    assert "999" in stack.meta["notes"][0]


def test_a_date_that_is_no_date_is_no_damage(tmp_path: Path) -> None:
    private = (50000, "s", 0, "experiment", True)
    path = make(tmp_path / "a.tif", YX, extratags=[private])
    data = bytearray(path.read_bytes())
    entry = data.index((50000).to_bytes(2, "little") + b"\x02\x00")
    data[entry + 8 : entry + 12] = (2**31).to_bytes(4, "little")
    path.write_bytes(data)
    stack = io.read(path)
    np.testing.assert_array_equal(stack[0], YX)
    assert "invalid value offset" in stack.meta["notes"][0]


@pytest.mark.parametrize(
    "remark",
    [
        "<tifffile.TiffPages @8> invalid page offset 99999",
        "<tifffile.TiffFile 'a.tif'> OME series is missing 3 frames. Missing data are zeroed",
        "<tifffile.TiffFile 'a.tif'> ImageJ series metadata invalid or corrupted file",
        "<tifffile.TiffTag 270 @42> invalid value offset 99999",
        "<tifffile.TiffPage 0 @8> incorrect StripByteCounts count (1 != 2)",
    ],
)
def test_lost_image_data_are_refused(remark: str) -> None:
    with pytest.raises(ReadError, match=r"a\.tif is damaged or cut off"):
        refuse_lost_data(Path("a.tif"), [remark])


def test_a_remark_is_noted_once() -> None:
    remark = "<tifffile.TiffPage 7 @8> <tifffile.read_uic1tag> raised ValueError('year 0')"
    notes = notes_of([remark, remark.replace("7", "8")])
    refuse_lost_data(Path("a.tif"), [remark])
    assert notes == ["the TIFF decoder reports: raised ValueError('year 0')"]
