"""NRRD data: encodings, byte orders and files beside the header."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.nrrd_files import DATA, make

from segscope import io
from segscope.errors import ReadError


class TestData:
    @pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
    @pytest.mark.parametrize("endian", ["little", "big"])
    def test_encodings(self, encoding: str, endian: str, tmp_path: Path) -> None:
        for dtype in ("i2", "f4", "u1", "f8"):
            data = DATA.astype(dtype)
            stack = io.read(make(tmp_path / "a.nrrd", data, encoding=encoding, endian=endian))
            np.testing.assert_array_equal(stack[4], data[..., 4].T)

    def test_detached_data(self, tmp_path: Path) -> None:
        make(tmp_path / "a.nhdr", encoding="gzip")
        np.testing.assert_array_equal(io.read(tmp_path / "a.nhdr")[1], DATA[..., 1].T)
        next(tmp_path.glob("a.raw*")).unlink()
        with pytest.raises(ReadError, match="not there"):
            io.read(tmp_path / "a.nhdr")

    @pytest.mark.parametrize(
        "name", ["../secret.raw", "/elsewhere/secret.raw", "sub/../../secret.raw"]
    )
    def test_data_outside_the_folder_are_refused(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "in" / "sub").mkdir(parents=True)
        (tmp_path / "secret.raw").write_bytes(bytes(100))
        nhdr = (
            f"NRRD0004\ntype: uchar\ndimension: 2\nsizes: 2 2\nencoding: raw\ndata file: {name}\n"
        )
        mhd = f"NDims = 2\nDimSize = 2 2\nElementType = MET_UCHAR\nElementDataFile = {name}\n"
        for file, text in (("a.nhdr", nhdr), ("a.mhd", mhd)):
            (tmp_path / "in" / file).write_text(text)
            with pytest.raises(ReadError, match="outside its own folder"):
                io.read(tmp_path / "in" / file)

    @pytest.mark.parametrize(
        ("header", "message"),
        [
            ("type: uchar\ndimension: 3\nsizes: 60000 60000 60000\nencoding: gzip", "GiB"),
            ("type: uchar\ndimension: 3\nsizes: 9 9\nencoding: raw", "damaged"),
            ("type: uchar\ndimension: 2\nsizes: 0 9\nencoding: raw", "damaged"),
            ("type: uchar\ndimension: 2\nsizes: -5 9\nencoding: raw", "damaged"),
            ("type: block\ndimension: 2\nsizes: 5 9\nencoding: raw", "block"),
            ("type: short\ndimension: 2\nsizes: 5 9\nencoding: raw", "byte order"),
            ("type: uchar\ndimension: 2\nsizes: 5 9\nencoding: hex", "hex"),
            ("type: uchar\ndimension: 2\nsizes: 5 9", "without 'encoding'"),
            ("type: uchar\ndimension: 2\nsizes: 500 900\nencoding: raw", "cut off"),
            ("type: uchar\ndimension: 2\nsizes: 500 900\nencoding: gzip", "cut off"),
            (
                "type: uchar\ndimension: 2\nsizes: 5 9\nencoding: raw\ndata file: LIST",
                "several files",
            ),
            (
                "type: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\nspace: LPS\n"
                "space directions: (1,0,0) (1,0,0) (0,0,1)",
                "singular",
            ),
        ],
    )
    def test_headers_that_cannot_be(self, header: str, message: str, tmp_path: Path) -> None:
        (tmp_path / "a.nrrd").write_bytes(f"NRRD0004\n{header}\n\n".encode() + bytes(64))
        with pytest.raises(ReadError, match=message):
            io.read(tmp_path / "a.nrrd")
