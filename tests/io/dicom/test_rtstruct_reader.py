"""Contours of structure sets to masks: what they enclose, what is left out, what is refused."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pydicom
import pytest
from support.data import data_folder
from support.dicom_files import along, oblique, write_series
from support.structure_sets import Contour, box, write_structure_set

from segscope import io
from segscope.errors import ReadError, UsageError
from segscope.masks import Masks
from segscope.stack import Stack

COUNT = 8
SHAPE = (COUNT, 24, 32)
WHOLE = box(5, 5, 15, 13)  # 80 pixels


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    folder = tmp_path_factory.mktemp("scan") / "ct"
    pixels = np.zeros(SHAPE, np.int16)
    return io.read(write_series(folder, along((0, 0, 2.5), COUNT), pixels=pixels))


def read(path: Path, stack: Stack, contours: list[Contour], **options: dict[int, str]) -> Masks:
    return io.read_masks(write_structure_set(path / "a.dcm", stack, contours, **options), stack)


def notes(masks: Masks) -> str:
    return "; ".join(masks.record.get("notes", ()))


class TestContours:
    @pytest.mark.parametrize(
        ("contours", "area"),
        [
            ([WHOLE], 80),
            ([WHOLE, WHOLE], 80),
            ([WHOLE, WHOLE[::-1], WHOLE[2:] + WHOLE[:2]], 80),
            ([WHOLE, box(10, 5, 20, 13)], 120),
            ([WHOLE, box(8, 7, 12, 10)], 80 - 12),
            ([WHOLE, box(8, 7, 12, 10), box(9, 8, 10, 9)], 80 - 12 + 1),
            ([WHOLE, box(15, 5, 25, 13)], 160),
            ([WHOLE, box(20, 20, 22, 22)], 84),
        ],
    )
    def test_area(
        self, tmp_path: Path, stack: Stack, contours: list[list[list[float]]], area: int
    ) -> None:
        masks = read(tmp_path, stack, [Contour(points, slice=3) for points in contours])
        assert masks.area(3, 1) == area
        assert masks.labels.sum() == area

    def test_exclusive_or_is_for_its_own_type(self, tmp_path: Path, stack: Stack) -> None:
        parts = [WHOLE, box(10, 5, 20, 13)]
        masks = read(tmp_path, stack, [Contour(part, 3, "CLOSEDPLANAR_XOR") for part in parts])
        assert masks.area(3, 1) == 80

    def test_each_region_has_its_own_contours(self, tmp_path: Path, stack: Stack) -> None:
        masks = read(tmp_path, stack, [Contour(WHOLE, 3), Contour(WHOLE, 3, region=2)])
        assert (masks.area(3, 1), masks.area(3, 2)) == (80, 80)
        assert masks.names == {1: "region 1", 2: "region 2"}

    def test_copies_and_overlaps_are_noted(
        self, tmp_path: Path, stack: Stack, caplog: pytest.LogCaptureFixture
    ) -> None:
        contours = [Contour(WHOLE, 3), Contour(WHOLE, 3), Contour(box(10, 5, 20, 13), 3)]
        with caplog.at_level(logging.WARNING, "segscope.io"):
            masks = read(tmp_path, stack, contours)
        assert "repeat another one, which count once: 1" in notes(masks)
        assert "overlap in part, united: 2" in notes(masks)
        assert "overlap in part, united: 2" in caplog.text

    def test_regions_numbered_from_0_become_objects(self, tmp_path: Path, stack: Stack) -> None:
        contours = [Contour(WHOLE, 3, region=0), Contour(box(1, 1, 3, 3), 3, region=4)]
        masks = read(tmp_path, stack, contours)
        assert masks.names == {1: "region 0", 2: "region 4"}
        assert (masks.area(3, 1), masks.area(3, 2)) == (80, 4)

    def test_regions_of_one_number_are_united_with_a_note(
        self, tmp_path: Path, stack: Stack
    ) -> None:
        contours = [Contour(WHOLE, 3), Contour(box(20, 5, 22, 7), 3, region=2)]
        path = write_structure_set(tmp_path / "a.dcm", stack, contours)
        data = pydicom.dcmread(path)
        data.StructureSetROISequence[1].ROINumber = 1
        data.ROIContourSequence[1].ReferencedROINumber = 1
        data.save_as(path)
        masks = io.read_masks(path, stack)
        assert masks.area(3, 1) == 84
        assert "regions that share a number, united: region 1, region 2" in notes(masks)

    def test_real_structure_sets_have_no_copies(self) -> None:
        stack = io.read(data_folder("dicom_ct_pet_mr_rtstruct/CT"))
        path = data_folder("dicom_ct_pet_mr_rtstruct/masks/CT_rtstruct.dcm")
        assert not notes(io.read_masks(path, stack))


class TestLeftOut:
    @pytest.mark.parametrize(
        ("contour", "note"),
        [
            (Contour(WHOLE, 4, "OPEN_PLANAR"), "not closed (1)"),
            (Contour(WHOLE, 4, "OPEN_NONPLANAR"), "not closed (1)"),
            (Contour(WHOLE[:1], 4, "POINT"), "a single point (1)"),
            (Contour(WHOLE[:2], 4), "of fewer than three points (1)"),
            (Contour(WHOLE, 4.5), "on no slice of the scan (1)"),
            (Contour(WHOLE, COUNT + 3), "on no slice of the scan (1)"),
            (Contour(box(40, 5, 50, 13), 4), "beside the image (1)"),
            (Contour(box(5, 5, 5.1, 5.1), 4), "around no pixel centre: 1"),
        ],
    )
    def test_it_is_counted(self, tmp_path: Path, stack: Stack, contour: Contour, note: str) -> None:
        masks = read(tmp_path, stack, [Contour(WHOLE, 3), contour])
        assert masks.labels.sum() == 80
        assert note in notes(masks)
        assert "regions" not in notes(masks)

    def test_a_region_of_which_nothing_is_used(self, tmp_path: Path, stack: Stack) -> None:
        point = Contour(WHOLE[:1], 4, "POINT", region=2)
        masks = read(tmp_path, stack, [Contour(WHOLE, 3), point])
        assert "regions without any contour that is used: region 2" in notes(masks)
        assert masks.names == {1: "region 1", 2: "region 2"}

    def test_a_region_that_is_not_listed(self, tmp_path: Path, stack: Stack) -> None:
        contours = [Contour(WHOLE, 3), Contour(WHOLE, 4, region=2)]
        path = write_structure_set(tmp_path / "a.dcm", stack, contours)
        data = pydicom.dcmread(path)
        del data.StructureSetROISequence[1]
        data.save_as(path)
        masks = io.read_masks(path, stack)
        assert masks.labels.sum() == 80
        assert "of a region that the file does not list (1)" in notes(masks)

    def test_the_edge_of_the_image_cuts(self, tmp_path: Path, stack: Stack) -> None:
        masks = read(tmp_path, stack, [Contour(box(-5, 5, 5, 13), 3), Contour(WHOLE, 4)])
        assert masks.area(3, 1) == 40
        assert "cut off at the edge of the image: 1" in notes(masks)

    def test_a_contour_along_the_edge_of_the_image_is_whole(
        self, tmp_path: Path, stack: Stack
    ) -> None:
        masks = read(tmp_path, stack, [Contour(box(0, 0, SHAPE[2], SHAPE[1]), 3)])
        assert masks.area(3, 1) == SHAPE[1] * SHAPE[2]
        assert not notes(masks)

    def test_a_contour_beside_its_slice_is_moved(self, tmp_path: Path, stack: Stack) -> None:
        masks = read(tmp_path, stack, [Contour(WHOLE, 3.2)])
        assert masks.area(3, 1) == 80
        assert "moved onto their slice: 1, by up to 0.20" in notes(masks)

    def test_single_stray_contours_of_many(self, tmp_path: Path, stack: Stack) -> None:
        many = [Contour(WHOLE, number % COUNT) for number in range(30)]
        stray = [Contour(WHOLE, 20), Contour(WHOLE, 21), Contour(WHOLE, 22)]
        masks = read(tmp_path, stack, many + stray)
        assert masks.labels.sum() == 80 * COUNT
        assert "on no slice of the scan (3)" in notes(masks)


class TestRefusals:
    def test_several_stray_contours(self, tmp_path: Path, stack: Stack) -> None:
        contours = [Contour(WHOLE, number) for number in range(5, 11)]
        with pytest.raises(ReadError, match="3 of 6 contours lie on no slice of this scan"):
            read(tmp_path, stack, contours)

    def test_only_contours_beside_the_image(self, tmp_path: Path, stack: Stack) -> None:
        with pytest.raises(ReadError, match="beside the image"):
            read(tmp_path, stack, [Contour(box(40, 5, 50, 13), 4)])

    def test_another_frame_of_reference(self, tmp_path: Path, stack: Stack) -> None:
        with pytest.raises(ReadError, match=r"frame of reference 1\.2\.9.*another patient"):
            read(tmp_path, stack, [Contour(WHOLE, 3)], frames_of_reference={1: "1.2.9"})

    def test_a_region_in_another_frame_of_reference(self, tmp_path: Path, stack: Stack) -> None:
        contours = [Contour(WHOLE, 3), Contour(box(1, 1, 3, 3), 3, region=2)]
        masks = read(tmp_path, stack, contours, frames_of_reference={2: "1.2.9"})
        assert masks.names == {1: "region 1"}
        assert masks.labels.sum() == 80
        assert "another frame of reference than the scan: region 2" in notes(masks)

    def test_without_a_scan_it_asks_for_one(self, tmp_path: Path, stack: Stack) -> None:
        path = write_structure_set(tmp_path / "a.dcm", stack, [Contour(WHOLE, 3)])
        with pytest.raises(UsageError, match="like="):
            io.read_masks(path)

    def test_a_video_is_refused(self, tmp_path: Path, stack: Stack) -> None:
        path = write_structure_set(tmp_path / "a.dcm", stack, [Contour(WHOLE, 3)])
        each = [{"TriggerTime": 40.0 * number} for number in range(4)]
        write_series(tmp_path / "cine", along((0, 0, 0), 4), oblique(), each=each)
        cine = io.read(tmp_path / "cine")
        with pytest.raises(UsageError, match="share one place"):
            io.read_masks(path, cine)


def test_dicom_masks_are_read_whatever_their_name(tmp_path: Path, stack: Stack) -> None:
    path = write_structure_set(tmp_path / "contours.json", stack, [Contour(WHOLE, 3)])
    assert io.read_masks(path, stack).area(3, 1) == 80
