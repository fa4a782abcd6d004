"""Masks on other images than those that they were drawn on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from support.dicom_files import along, write_enhanced, write_series
from support.dicom_masks import BOTH, COUNT, labels, masks_of

from segscope import io
from segscope.errors import ReadError
from segscope.stack import Stack

POSITIONS = along((0, 0, 2.5), COUNT)


def scan(folder: Path, **tags: Any) -> Stack:
    """A scan without a frame of reference, unless the tags have one."""
    write_series(folder, POSITIONS, **tags)
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        if "FrameOfReferenceUID" not in tags:
            del data.FrameOfReferenceUID
        data.save_as(path)
    return io.read(folder)


@pytest.fixture
def own(tmp_path: Path) -> Stack:
    return scan(tmp_path / "own", StudyInstanceUID="1.2.1", SeriesInstanceUID="1.2.11")


def write(stack: Stack, path: Path) -> Path:
    io.write(masks_of(stack), path, stack)
    return path


@BOTH
class TestBothFormats:
    def test_masks_of_these_images_have_no_note(
        self, tmp_path: Path, own: Stack, suffix: str
    ) -> None:
        masks = io.read_masks(write(own, tmp_path / f"out{suffix}"), own)
        assert np.array_equal(masks.labels, labels())
        assert not masks.record.get("notes")

    def test_another_study_is_refused(self, tmp_path: Path, own: Stack, suffix: str) -> None:
        path = write(own, tmp_path / f"out{suffix}")
        other = scan(tmp_path / "other", StudyInstanceUID="1.2.2", SeriesInstanceUID="1.2.22")
        with pytest.raises(ReadError, match="images of another study"):
            io.read_masks(path, other)

    def test_another_series_of_the_study_is_noted(
        self, tmp_path: Path, own: Stack, suffix: str
    ) -> None:
        path = write(own, tmp_path / f"out{suffix}")
        other = scan(tmp_path / "other", StudyInstanceUID="1.2.1", SeriesInstanceUID="1.2.22")
        masks = io.read_masks(path, other)
        assert np.array_equal(masks.labels, labels())
        (note,) = masks.record["notes"]
        assert note.startswith("drawn on other images than those of this scan, without a frame")

    def test_another_series_in_one_frame_of_reference_fits(
        self, tmp_path: Path, suffix: str
    ) -> None:
        first, second = (
            scan(tmp_path / name, StudyInstanceUID=name, FrameOfReferenceUID="1.2.7")
            for name in ("1.2.1", "1.2.2")
        )
        masks = io.read_masks(write(first, tmp_path / f"out{suffix}"), second)
        assert np.array_equal(masks.labels, labels())
        assert not masks.record.get("notes")

    def test_files_of_another_time_point_are_noted(self, tmp_path: Path, suffix: str) -> None:
        each = [{"AcquisitionNumber": 1 + number // COUNT} for number in range(2 * COUNT)]
        names = list(map(str, range(2 * COUNT)))
        folder = write_series(tmp_path / "4d", POSITIONS * 2, each=each, names=names)
        masks_path = write(io.read(folder, volume=1), tmp_path / f"out{suffix}")
        assert not io.read_masks(masks_path, io.read(folder, volume=1)).record.get("notes")
        masks = io.read_masks(masks_path, io.read(folder, volume=0))
        (note,) = masks.record["notes"]
        assert note.startswith("drawn on other images than this volume")

    def test_another_time_point_is_noted(self, tmp_path: Path, suffix: str) -> None:
        points = [1 + number // COUNT for number in range(2 * COUNT)]
        path = write_enhanced(tmp_path / "4d.dcm", POSITIONS * 2, TemporalPositionIndex=points)
        masks_path = write(io.read(path, volume=1), tmp_path / f"out{suffix}")
        assert not io.read_masks(masks_path, io.read(path, volume=1)).record.get("notes")
        masks = io.read_masks(masks_path, io.read(path, volume=0))
        assert np.array_equal(masks.labels, labels())
        (note,) = masks.record["notes"]
        assert note.startswith("drawn on other frames of the same file")


def test_a_reference_without_a_frame_number_is_to_all_frames(tmp_path: Path) -> None:
    points = [1 + number // COUNT for number in range(2 * COUNT)]
    path = write_enhanced(tmp_path / "4d.dcm", POSITIONS * 2, TemporalPositionIndex=points)
    stack = io.read(path, volume=1)
    data = pydicom.dcmread(write(stack, tmp_path / "out.dcm"))
    for group in data.PerFrameFunctionalGroupsSequence:
        del group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
    data.save_as(tmp_path / "out.dcm")
    assert not io.read_masks(tmp_path / "out.dcm", stack).record.get("notes")
