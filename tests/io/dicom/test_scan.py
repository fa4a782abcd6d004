"""Folders of a study: one file that cannot be read does not hide the other series."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import generate_uid
from support.dicom_files import along, write_series

from segscope import io
from segscope.errors import ReadError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_series(tmp_path / "study", along((0, 0, 2.0), 4), SeriesDescription="thorax")


def _slice_of_another_series(folder: Path) -> pydicom.Dataset:
    data = pydicom.dcmread(folder / "001.dcm")
    data.SeriesInstanceUID = generate_uid()
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return data


def _cut_off(folder: Path) -> None:
    _slice_of_another_series(folder).save_as(folder / "bad.dcm")
    content = (folder / "bad.dcm").read_bytes()
    (folder / "bad.dcm").write_bytes(content[:-50])


def _four_samples(folder: Path) -> None:
    data = _slice_of_another_series(folder)
    data.SamplesPerPixel = 4
    data.save_as(folder / "bad.dcm")


def _no_pixels(folder: Path) -> None:
    data = _slice_of_another_series(folder)
    del data.PixelData
    data.save_as(folder / "bad.dcm")


def _no_rows(folder: Path) -> None:
    data = _slice_of_another_series(folder)
    del data.Rows
    data.save_as(folder / "bad.dcm")


def _empty(folder: Path) -> None:
    (folder / "bad.dcm").write_bytes(b"")


def _text(folder: Path) -> None:
    (folder / "bad.dcm").write_bytes(b"hello " * 100)


def _dangling_link(folder: Path) -> None:
    (folder / "bad.dcm").symlink_to(folder / "nowhere.dcm")


def _device(folder: Path) -> None:
    (folder / "bad.dcm").symlink_to("/dev/zero")


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "bad")


Damage = Callable[[Path], None]
OF_ANOTHER_SERIES = [_cut_off, _four_samples, _no_pixels, _no_rows]
OF_UNKNOWN_SERIES = [_empty, _text]
NO_FILES = [_dangling_link, _device, _pipe]


@pytest.mark.parametrize("damage", [*OF_ANOTHER_SERIES, *OF_UNKNOWN_SERIES, *NO_FILES])
def test_a_series_that_is_named_is_read_with_a_note(folder: Path, damage: Damage) -> None:
    damage(folder)
    stack = io.read(folder, series="thorax")
    assert len(stack) == 4
    (note,) = stack.meta["notes"]
    assert note.startswith("1 file left out")


@pytest.mark.parametrize("damage", [*OF_ANOTHER_SERIES, *NO_FILES])
def test_the_only_series_needs_no_name_if_the_file_is_not_part_of_it(
    folder: Path, damage: Damage
) -> None:
    damage(folder)
    assert len(io.read(folder)) == 4


@pytest.mark.parametrize("damage", OF_UNKNOWN_SERIES)
def test_a_file_of_unknown_series_may_be_part_of_the_only_one(folder: Path, damage: Damage) -> None:
    damage(folder)
    with pytest.raises(ReadError, match=r"bad\.dcm.*series is unknown.*series="):
        io.read(folder)


def test_a_series_with_a_damaged_file_is_refused(folder: Path) -> None:
    content = (folder / "001.dcm").read_bytes()
    (folder / "001.dcm").write_bytes(content[:-50])
    with pytest.raises(ReadError, match=r"001\.dcm is cut off"):
        io.read(folder, series="thorax")


def test_a_folder_without_any_readable_image_says_why(tmp_path: Path) -> None:
    _text(tmp_path)
    with pytest.raises(ReadError, match=r"bad\.dcm is not a DICOM file"):
        io.read(tmp_path)
