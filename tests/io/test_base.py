"""What formats share: limits on sizes that untrusted files declare, and how reading fails."""

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
from segscope.io.base import ReadOptions, check_file, choose_part, reading, refuse_options


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


class TestReading:
    @pytest.mark.parametrize("error", [KeyError("x"), ValueError("a\n  b"), MemoryError()])
    def test_whatever_a_library_raises_is_one_paragraph(self, error: Exception) -> None:
        with pytest.raises(ReadError) as caught, reading(Path("scan.x"), "a scan"):
            raise error
        assert "scan.x" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.__cause__ is error

    def test_our_errors_pass(self) -> None:
        with pytest.raises(UsageError, match="mine"), reading(Path("scan.x"), "a scan"):
            raise UsageError("mine")


class TestChoices:
    def test_one_part_needs_no_choice(self) -> None:
        assert choose_part(Path("a"), None, 1, "volumes", "volume") == 0
        assert choose_part(Path("a"), 2, 3, "volumes", "volume") == 2

    @pytest.mark.parametrize(
        ("requested", "message"), [(None, "0 to 2"), (3, "no volume 3"), (-1, "no volume -1")]
    )
    def test_other_choices_are_refused(self, requested: int | None, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            choose_part(Path("a"), requested, 3, "volumes", "volume")

    def test_an_option_that_does_not_apply_is_refused(self) -> None:
        refuse_options(Path("a"), ReadOptions(volume=1), "volume")
        with pytest.raises(UsageError, match="channel does not apply"):
            refuse_options(Path("a"), ReadOptions(channel=0), "volume", "series")


class TestFiles:
    def test_a_folder_and_an_empty_file_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="not a regular file"):
            check_file(tmp_path)
        (tmp_path / "empty").touch()
        with pytest.raises(ReadError, match="0 bytes"):
            check_file(tmp_path / "empty")
