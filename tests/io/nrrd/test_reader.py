"""NRRD data: encodings, byte orders and files beside the header."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from support.nrrd_files import DATA, make

from segscope import io
from segscope.errors import ReadError, UsageError

RAW = DATA.astype("<i2").tobytes(order="F")
HEADER = "NRRD0004\ntype: short\ndimension: 3\nsizes: 7 6 5\nendian: little"


def write_data(path: Path, fields: str, data: bytes) -> None:
    path.write_bytes(f"{HEADER}\n{fields}\n\n".encode() + data)


def assert_is_data(path: Path) -> None:
    stack = io.read(path)
    np.testing.assert_array_equal([stack[index] for index in range(5)], DATA.T)


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

    @pytest.mark.parametrize("before", [b"", b"x" * 7, b"H" * 352])
    @pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
    def test_a_byte_skip_of_minus_one_takes_the_last_bytes(
        self, encoding: str, before: bytes, tmp_path: Path
    ) -> None:
        pack = {"raw": bytes, "gzip": gzip.compress, "bzip2": bz2.compress}[encoding]
        write_data(tmp_path / "a.nrrd", f"encoding: {encoding}\nbyte skip: -1", pack(before + RAW))
        assert_is_data(tmp_path / "a.nrrd")

    def test_a_nifti_file_may_hold_the_data(self, tmp_path: Path) -> None:
        nibabel.save(nibabel.Nifti1Image(DATA, np.eye(4)), tmp_path / "a.nii.gz")
        fields = "encoding: gzip\nbyte skip: -1\ndata file: a.nii.gz"
        write_data(tmp_path / "a.nhdr", fields, b"")
        assert_is_data(tmp_path / "a.nhdr")

    @pytest.mark.parametrize("encoding", ["raw", "gzip"])
    def test_lines_come_before_bytes(self, encoding: str, tmp_path: Path) -> None:
        """Lines are skipped in the file, bytes in what it decodes to."""
        pack = {"raw": bytes, "gzip": gzip.compress}[encoding]
        data = b"one\ntwo\n" + pack(b"12345" + RAW)
        write_data(tmp_path / "a.nrrd", f"encoding: {encoding}\nline skip: 2\nbyte skip: 5", data)
        assert_is_data(tmp_path / "a.nrrd")

    def test_hexadecimal_text(self, tmp_path: Path) -> None:
        write_data(tmp_path / "a.nrrd", "encoding: hex", RAW.hex(" ", 20).encode())
        assert_is_data(tmp_path / "a.nrrd")

    def test_text_behind_bytes_to_skip(self, tmp_path: Path) -> None:
        text = " ".join(map(str, DATA.ravel(order="F")))
        write_data(tmp_path / "a.nrrd", "encoding: ascii\nbyte skip: 3", f"17 {text}".encode())
        assert_is_data(tmp_path / "a.nrrd")

    @pytest.mark.parametrize("encoding", ["raw", "gzip"])
    @pytest.mark.parametrize(
        ("field", "count"),
        [
            ("LIST\n{names}", 5),
            ("LIST 2\n{names}", 5),
            ("LIST 1\n{names}", 30),
            ("LIST 3\n{names}", 1),
            ("s%02d.raw 0 4 1", 5),
            ("s%02d.raw 0 29 1 1", 30),
        ],
    )
    def test_data_in_several_files(
        self, field: str, count: int, encoding: str, tmp_path: Path
    ) -> None:
        sitk = pytest.importorskip("SimpleITK")
        pack = {"raw": bytes, "gzip": gzip.compress}[encoding]
        step = len(RAW) // count
        for number in range(count):
            part = RAW[number * step : (number + 1) * step]
            (tmp_path / f"s{number:02d}.raw").write_bytes(pack(part))
        names = "\n".join(f"s{number:02d}.raw" for number in range(count))
        fields = f"encoding: {encoding}\ndata file: {field.format(names=names)}"
        (tmp_path / "a.nhdr").write_text(f"{HEADER}\n{fields}\n")
        assert_is_data(tmp_path / "a.nhdr")
        if count == 5:  # ITK has slices only
            image = sitk.ReadImage(str(tmp_path / "a.nhdr"))
            np.testing.assert_array_equal(sitk.GetArrayFromImage(image), DATA.T)
        (tmp_path / "s00.raw").unlink()
        with pytest.raises(ReadError, match=r"'s00\.raw', which is not there"):
            io.read(tmp_path / "a.nhdr")

    @pytest.mark.parametrize("field", ["LIST\ns0.raw\ns1.raw", "s%d.raw 0 1 1"])
    def test_another_number_of_files_is_refused(self, field: str, tmp_path: Path) -> None:
        (tmp_path / "a.nhdr").write_text(f"{HEADER}\nencoding: raw\ndata file: {field}\n")
        with pytest.raises(ReadError, match="data in several files and names 2; expected 5"):
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
            ("type: uchar\ndimension: 2\nsizes: 5 9\nencoding: zip", "zip"),
            ("type: uchar\ndimension: 2\nsizes: 5 9\nencoding: hex", "hexadecimal"),
            ("type: uchar\ndimension: 2\nsizes: 5 9\nencoding: raw\nbyte skip: -5", "from -1 on"),
            ("type: uchar\ndimension: 2\nsizes: 5 9\nencoding: gzip\nbyte skip: -2", "from -1 on"),
            ("type: uchar\ndimension: 2\nsizes: 5 9\nencoding: raw\nbyte skip: x", "byte skip: x"),
            ("type: uchar\ndimension: 2\nsizes: 5 9\nencoding: raw\nline skip: -1", "from 0 on"),
            ("type: uchar\ndimension: 2\nsizes: 5 9\nencoding: ascii\nbyte skip: -1", "no use"),
            (
                "type: uchar\ndimension: 2\nsizes: 500 900\nencoding: raw\nbyte skip: -1",
                "450000 bytes of data are declared as its last",
            ),
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


def test_detached_data_may_not_be_replaced(tmp_path: Path) -> None:
    voxels = np.arange(60, dtype=np.uint8)
    (tmp_path / "v.nii").write_bytes(bytes(352) + voxels.tobytes())
    (tmp_path / "a.nhdr").write_text(
        "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 5 4 3\nencoding: raw\n"
        "byte skip: -1\ndata file: v.nii\n"
    )
    stack = io.read(tmp_path / "a.nhdr")
    with pytest.raises(UsageError, match="would be overwritten"):
        io.check_output(tmp_path / "v.nii", stack)


def test_a_percent_sign_is_no_pattern(tmp_path: Path) -> None:
    (tmp_path / "100%.raw").write_bytes(bytes(range(60)))
    (tmp_path / "a.nhdr").write_text(
        "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 5 4 3\nencoding: raw\ndata file: 100%.raw\n"
    )
    assert io.read(tmp_path / "a.nhdr")[0][0, 1] == 1
