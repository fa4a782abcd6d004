"""DICOM files are recognised with and without their preamble."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from support.dicom_files import sample

from segscope import io
from segscope.errors import ReadError
from segscope.io.dicom import files
from segscope.io.dicom.files import list_files, looks_like_dicom


class TestSamplesOfPydicom:
    def test_a_file_without_preamble_and_file_header_is_read(self, tmp_path: Path) -> None:
        data = pydicom.dcmread(sample("CT_small.dcm"))
        pixels = data.pixel_array
        del data.file_meta
        pydicom.dcmwrite(tmp_path / "bare", data, implicit_vr=True, little_endian=True)
        slope = float(data.RescaleSlope), float(data.RescaleIntercept)
        assert np.array_equal(io.read(tmp_path / "bare")[0], pixels * slope[0] + slope[1])


@pytest.mark.parametrize(
    ("head", "is_dicom"),
    [
        (b"\0" * 128 + b"DICM", True),
        (b"\x08\0\x05\0CS\x0a\0ISO_", True),
        (b"\x02\0\0\0UL\x04\0\0\0\0\0", True),
        (b"\0\x08\0\x05CS\0\x0aISO_", True),
        (b"\x08\0\x05\0", False),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), False),
        (bytes(200), False),
        (b"", False),
    ],
)
def test_first_bytes_tell(head: bytes, is_dicom: bool, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(head)
    assert looks_like_dicom(tmp_path / "a") is is_dicom


def test_hidden_files_are_not_listed(tmp_path: Path) -> None:
    for name in ("b/2", "b/1", "a/3", ".hidden/4", "a/.5", "0"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [str(file.relative_to(tmp_path)) for file in list_files(tmp_path)]
    assert names == ["0", "a/3", "b/1", "b/2"]


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILES", 2)
    for name in "abc":
        (tmp_path / name).touch()
    with pytest.raises(ReadError, match="more than 2 files"):
        list_files(tmp_path)
