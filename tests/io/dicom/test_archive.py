"""Zips of DICOM folders."""

from __future__ import annotations

import gc
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.dicom_files import along, whole, write_series
from support.dicom_masks import labels

from segscope import io
from segscope.errors import ReadError, UsageError
from segscope.io.dicom import reader
from segscope.masks import Masks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_series(tmp_path / "ct", along((0, 0, 2.0), 6))


def write_zip(path: Path, *folders: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in folders:
            for file in sorted(folder.rglob("*")):
                archive.write(file, file.relative_to(folder.parent))
    return path


def test_a_zip_is_read_as_its_folder(tmp_path: Path, folder: Path) -> None:
    archive = write_zip(tmp_path / "ct.zip", folder)
    stack = io.read(archive)
    expected = io.read(folder)
    assert stack.path == archive
    assert np.array_equal(whole(stack), whole(expected))
    assert stack.geometry is not None
    assert expected.geometry is not None
    assert np.array_equal(stack.geometry.affine, expected.geometry.affine)


def test_files_last_as_long_as_their_stack(tmp_path: Path, folder: Path) -> None:
    stack = io.read(write_zip(tmp_path / "ct.zip", folder))
    unpacked = Path(stack.meta["dicom_files"][0]).parents[1]
    source = stack.source
    masks = Masks.from_labels(labels(), geometry=stack.geometry)
    io.write(masks, tmp_path / "seg.dcm", stack)
    assert np.array_equal(io.read_masks(tmp_path / "seg.dcm", stack).labels, labels())
    del stack
    gc.collect()
    assert source[0].shape == (6, 9)
    del source
    gc.collect()
    assert not unpacked.exists()


def test_the_archive_itself_is_not_replaced(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "ct.nii.gz").symlink_to(write_zip(tmp_path / "ct.zip", folder))
    stack = io.read(tmp_path / "ct.zip")
    with pytest.raises(UsageError, match="overwritten"):
        io.check_output(tmp_path / "ct.nii.gz", stack)


def test_several_series_are_listed(tmp_path: Path, folder: Path) -> None:
    other = write_series(
        tmp_path / "other", along((0, 0, 1.0), 3), SeriesInstanceUID="1.2.3.9", SeriesNumber=2
    )
    archive = write_zip(tmp_path / "study.zip", folder, other)
    with pytest.raises(UsageError, match=r"study\.zip holds 2 series"):
        io.read(archive)
    assert len(io.read(archive, series="2")) == 3


def test_a_zip_without_images_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text/a.txt").write_text("hello")
    with pytest.raises(ReadError, match=r"text\.zip holds no DICOM images.*unpack it"):
        io.read(write_zip(tmp_path / "text.zip", tmp_path / "text"))


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def test_an_error_names_the_archive_and_its_member(tmp_path: Path, folder: Path) -> None:
    cut_off(folder / "003.dcm")
    with pytest.raises(ReadError, match=r"ct\.zip/ct/003\.dcm is cut off") as raised:
        io.read(write_zip(tmp_path / "ct.zip", folder))
    assert tempfile.gettempdir() + "/segscope-" not in str(raised.value)


def test_a_note_names_the_archive_and_its_member(tmp_path: Path, folder: Path) -> None:
    other = write_series(tmp_path / "other", along((0, 0, 1.0), 3), SeriesInstanceUID="1.2.3.9")
    cut_off(other / "001.dcm")
    archive = write_zip(tmp_path / "study.zip", folder, other)
    notes = " ".join(io.read(archive, series="1.2.3.2").meta["notes"])
    assert f"{archive}/other/001.dcm is cut off" in notes


def test_an_error_of_a_frame_names_the_archive_and_its_member(tmp_path: Path, folder: Path) -> None:
    archive = write_zip(tmp_path / "ct.zip", folder)
    stack = io.read(archive)
    file = Path(stack.meta["dicom_files"][2])
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ReadError) as raised:
        stack[2]
    assert str(raised.value).startswith(f"{archive}/ct/{file.name} ")


def test_a_refused_reference_names_the_archive_and_its_member(tmp_path: Path, folder: Path) -> None:
    write_series(folder, along((0, 0, 2.0), 6), SOPInstanceUID="")
    archive = write_zip(tmp_path / "ct.zip", folder)
    stack = io.read(archive)
    masks = Masks.from_labels(labels(), geometry=stack.geometry)
    with pytest.raises(UsageError, match=r"ct\.zip/ct/\d+\.dcm has no SOPInstanceUID") as raised:
        io.write(masks, tmp_path / "seg.dcm", stack)
    assert str(archive) in str(raised.value)


def test_a_colon_in_a_folder_name_is_accepted(tmp_path: Path, folder: Path) -> None:
    with zipfile.ZipFile(tmp_path / "ct.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"T1 10:30/{file.name}")
    assert len(io.read(tmp_path / "ct.zip")) == 6


def test_a_zip_beyond_the_limits_is_refused(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_zip(tmp_path / "ct.zip", folder)
    monkeypatch.setattr(reader, "MAX_BYTES", 2000)
    with pytest.raises(ReadError, match=r"ct\.zip.*more than 2000 bytes"):
        io.read(archive)


def test_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip at all")
    with pytest.raises(ReadError, match=r"a\.zip: the archive cannot be unpacked"):
        io.read(tmp_path / "a.zip")


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.7z", "a.rar"])
def test_other_archives_are_to_be_unpacked(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"archive")
    with pytest.raises(UsageError, match="unpack it"):
        io.read(tmp_path / name)


class TestContentBeforeName:
    @pytest.mark.parametrize("name", ["a.img", "a.nii", "a.png", "a.mp4", "a.npy", "a.xyz"])
    def test_dicom_is_read_under_any_name(self, tmp_path: Path, folder: Path, name: str) -> None:
        (folder / "000.dcm").rename(tmp_path / name)
        assert io.read(tmp_path / name).source.shape == (1, 6, 9)

    def test_a_tiff_that_is_dicom_as_well_stays_a_tiff(self, tmp_path: Path) -> None:
        """Whole slides come as files of both kinds, with the TIFF header in the preamble."""
        path = tmp_path / "slide.tif"
        pixels = np.arange(72, dtype=np.uint8)
        entries = {256: 9, 257: 8, 258: 8, 259: 1, 262: 1, 273: 160, 277: 1, 278: 8, 279: 72}
        directory = struct.pack("<H", len(entries))
        for tag, value in entries.items():
            directory += struct.pack("<HHII", tag, 4, 1, value)
        head = struct.pack("<2sHI", b"II", 42, 160 + 72).ljust(128, b"\0") + b"DICM"
        path.write_bytes(head.ljust(160, b"\0") + pixels.tobytes() + directory + bytes(4))
        assert np.array_equal(io.read(path)[0].ravel(), pixels)
