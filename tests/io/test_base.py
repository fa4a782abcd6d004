"""Limits on sizes that untrusted files declare."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from segscope import io
from segscope.errors import ReadError, UsageError
from segscope.io import base


class TestBombs:
    def test_a_gzip_bomb_is_not_inflated(self, tmp_path: Path) -> None:
        header = nibabel.Nifti1Header()
        header.set_data_shape((20000, 20000, 100))
        header["magic"], header["vox_offset"] = b"n+1", 352
        with gzip.open(tmp_path / "bomb.nii.gz", "wb") as file:
            file.write(header.binaryblock + bytes(10**6))
        with pytest.raises(ReadError):
            io.read(tmp_path / "bomb.nii.gz")

    def test_a_zip_member_that_lies_is_refused(self, tmp_path: Path) -> None:
        with (
            zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("imgs.npy", "w") as file,
        ):
            head = {"descr": "<f8", "fortran_order": False, "shape": (3000, 3000, 3000)}
            np.lib.format.write_array_header_1_0(file, head)
            file.write(bytes(10**6))
        with pytest.raises(ReadError):
            io.read(tmp_path / "bomb.npz")

    def test_an_image_bomb_is_refused(self, tmp_path: Path) -> None:
        Image.new("1", (12000, 12000)).save(tmp_path / "bomb.png")
        with pytest.raises(ReadError, match="pixels"):
            io.read(tmp_path / "bomb.png")


@pytest.mark.parametrize("text", ["64G", "-1", "0"])
def test_a_limit_that_is_no_number_is_one_paragraph(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGSCOPE_MAX_BYTES", text)
    with pytest.raises(UsageError, match="SEGSCOPE_MAX_BYTES"):
        base.read_limit("SEGSCOPE_MAX_BYTES", 5)
