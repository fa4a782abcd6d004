"""DICOM headers: what they state is read, and what is damaged is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from support.dicom_files import (
    MR,
    along,
    header,
    sample,
    save,
    set_pixels,
    whole,
    write_series,
)

from segscope import io
from segscope.errors import ReadError, SegscopeError
from segscope.stack import Stack


class TestValues:
    def read_one(self, tmp_path: Path, pixels: np.ndarray, **tags: Any) -> Stack:
        data = header(MR, "MR", **tags)
        return io.read(save(set_pixels(data, pixels), tmp_path / "one.dcm"))

    def test_a_slope_of_zero_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ReadError, match="RescaleSlope of 0"):
            self.read_one(tmp_path, np.zeros((4, 4), np.int16), RescaleSlope=0, RescaleIntercept=0)

    @pytest.mark.parametrize(
        ("tags", "source"),
        [({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.3, 0.3]}, "PixelSpacing"),
         ({"ImagerPixelSpacing": [0.2, 0.1]}, "ImagerPixelSpacing")],
    )  # fmt: skip
    def test_where_the_spacing_comes_from_is_noted(
        self, tmp_path: Path, tags: dict[str, Any], source: str
    ) -> None:
        stack = self.read_one(tmp_path, np.zeros((4, 4), np.int16), **tags)
        assert stack.meta["spacing_source"] == source
        assert stack.spacing_zyx_mm is not None
        assert stack.spacing_zyx_mm[1:] == (0.2, 0.1)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size - 60])


def _cut_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _garbage(path: Path) -> None:
    path.write_bytes(np.random.default_rng(1).bytes(2000))


def _text(path: Path) -> None:
    path.write_text("this is no DICOM file at all, only text\n" * 30)


def _huge(path: Path) -> None:
    data = pydicom.dcmread(path)
    data.Rows = data.Columns = 65535
    data.NumberOfFrames = 2000000
    data.save_as(path)


def _no_size(path: Path) -> None:
    data = pydicom.dcmread(path)
    data.Rows = 0
    data.save_as(path)


class TestDamaged:
    @pytest.mark.parametrize(
        "damage", [_cut, _cut_header, _empty, _garbage, _text, _huge, _no_size]
    )
    def test_a_damaged_file_is_one_paragraph(
        self, tmp_path: Path, damage: Callable[[Path], None]
    ) -> None:
        folder = write_series(tmp_path / "series", along((0, 0, 2.0), 3))
        damage(folder / "001.dcm")
        for path in (folder, folder / "001.dcm"):
            with pytest.raises(ReadError) as refusal:
                io.read(path)
            assert "001.dcm" in str(refusal.value)
            assert len(str(refusal.value)) < 700

    def test_any_byte_may_be_wrong(self, tmp_path: Path) -> None:
        """A flipped byte gives a stack or an error of ours, and no other one."""
        good = sample("CT_small.dcm").read_bytes()
        rng = np.random.default_rng(5)
        for _ in range(60):
            bad = bytearray(good)
            for place in rng.integers(0, 6500, 4):
                bad[place] = rng.integers(256)
            path = tmp_path / "flipped.dcm"
            path.write_bytes(bad)
            try:
                whole(io.read(path))
            except SegscopeError:
                continue
