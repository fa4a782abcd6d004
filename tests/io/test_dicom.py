"""DICOM in: order, place, values, choices and refusals."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from support.dicom_files import (
    AXIAL,
    COLUMNS,
    MR,
    ROWS,
    along,
    header,
    normal_of,
    oblique,
    sample,
    save,
    set_pixels,
    slice_pixels,
    whole,
    world_lps,
    write_clip,
    write_enhanced,
    write_series,
)

from segscope import io
from segscope.errors import ReadError, UsageError
from segscope.stack import Stack


def check_places(
    stack: Stack, positions: list[list[float]], orientation: tuple[float, ...]
) -> None:
    """Every voxel lies where the header of its own slice puts it."""
    assert stack.geometry is not None
    pixels = whole(stack)
    for frame, row, column in np.ndindex(pixels.shape):
        number, within = divmod(int(pixels[frame, row, column]), 100)
        wanted = world_lps(positions[number], orientation, *divmod(within, COLUMNS)) * (-1, -1, 1)
        found = stack.geometry.affine @ (column, row, frame, 1)
        np.testing.assert_allclose(found[:3], wanted, atol=1e-5)


class TestPlace:
    @pytest.mark.parametrize(
        "orientation", [AXIAL, oblique(), (0, 1, 0, 0, 0, -1), (-1, 0, 0, 0, 1, 0)]
    )
    @pytest.mark.parametrize("direction", [1, -1])
    def test_slices_are_sorted_along_their_normal_and_lie_where_headers_say(
        self, tmp_path: Path, orientation: tuple[float, ...], direction: int
    ) -> None:
        positions = along(normal_of(orientation) * 2.5 * direction, 5)
        stack = io.read(write_series(tmp_path / "series", positions, orientation))
        assert stack.kind == "volume"
        assert stack.source.shape == (5, ROWS, COLUMNS)
        check_places(stack, positions, orientation)
        assert stack.spacing_zyx_mm == pytest.approx((2.5, 0.7, 0.4))

    def test_gantry_tilt_keeps_the_sheared_affine(self, tmp_path: Path) -> None:
        positions = along((0.0, 1.1, 2.5), 6)
        stack = io.read(write_series(tmp_path / "tilted", positions))
        check_places(stack, positions, AXIAL)
        assert stack.meta["gantry_tilt_deg"] == pytest.approx(np.degrees(np.arctan2(1.1, 2.5)))

    def test_rounded_positions_are_one_even_volume_with_the_deviation_noted(
        self, tmp_path: Path
    ) -> None:
        positions = along((0.0, 0.0, 0.75), 9)
        for place in positions:
            place[2] = round(place[2], 1)
        stack = io.read(write_series(tmp_path / "rounded", positions))
        assert 0 < stack.meta["slice_deviation_mm"] < 0.1

    def test_one_slice_is_a_image_with_its_place(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "one", along((0, 0, 1), 1))
        stack = io.read(folder / "000.dcm")
        assert stack.kind == "image"
        check_places(stack, along((0, 0, 1), 1), AXIAL)
        assert stack.spacing_zyx_mm == pytest.approx((2.0, 0.7, 0.4))

    def test_files_and_frames_are_listed_in_frame_order(self, tmp_path: Path) -> None:
        stack = io.read(write_series(tmp_path / "series", along((0, 0, -2.0), 4)))
        for index, path in enumerate(stack.meta["dicom_files"]):
            assert np.array_equal(pydicom.dcmread(path).pixel_array, stack[index])
        assert stack.meta["dicom_frames"] == (0, 0, 0, 0)

    def test_directions_that_are_none_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ReadError, match="perpendicular"):
            io.read(write_series(tmp_path / "skewed", along((0, 0, 2), 3), (1, 0, 0, 0.5, 0.5, 0)))


class TestGapsAndDoubles:
    def test_missing_slices_are_refused_with_their_place(self, tmp_path: Path) -> None:
        positions = along((0, 0, 2.0), 9)
        del positions[3:5]
        with pytest.raises(ReadError, match=r"2 slices are missing.*between .*dcm at 11\.25 mm"):
            io.read(write_series(tmp_path / "gap", positions))

    def test_uneven_spacing_is_refused(self, tmp_path: Path) -> None:
        positions = [[0, 0, z] for z in (0, 1, 2.4, 3, 5.5, 6.1)]
        with pytest.raises(ReadError, match=r"varies from 0\.600 to 2\.500 mm"):
            io.read(write_series(tmp_path / "uneven", positions))

    def test_a_doubled_position_is_refused_with_its_files(self, tmp_path: Path) -> None:
        positions = along((0, 0, 2.0), 5)
        positions.append(list(positions[2]))
        with pytest.raises(ReadError, match=r"1 hold another number: 2 at 11\.25 mm"):
            io.read(write_series(tmp_path / "double", positions))

    def test_a_copied_file_is_left_out_with_a_note(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "series", along((0, 0, 2.0), 4))
        shutil.copy(folder / "001.dcm", folder / "copy of 001.dcm")
        stack = io.read(folder)
        assert len(stack) == 4
        assert any("copies" in note for note in stack.meta["notes"])

    def test_slices_side_by_side_in_one_plane_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ReadError, match="side by side"):
            io.read(write_series(tmp_path / "tiles", along((30.0, 0, 0), 4)))

    def test_a_mosaic_of_slices_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ReadError, match="mosaic"):
            io.read(
                write_series(
                    tmp_path / "s",
                    along((0, 0, 2.0), 3),
                    ImageType=["ORIGINAL", "PRIMARY", "MOSAIC"],
                )
            )


class TestSeveralSeries:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        both = tmp_path / "both"
        write_series(
            both / "a", along((0, 0, 2.0), 4), SeriesDescription="Abdomen thick", SeriesNumber=7
        )
        write_series(both / "b", along((0, 0, 1.0), 6), SeriesDescription="Abdomen thin", SeriesNumber=3,
                     SeriesInstanceUID="1.2.3.99")  # fmt: skip
        return both

    def test_are_refused_with_a_listing_and_no_patient(self, folder: Path) -> None:
        with pytest.raises(UsageError) as refusal:
            io.read(folder)
        message = str(refusal.value)
        assert "1: series 3, CT, 'Abdomen thin', 6 frames of 6 x 9, axial" in message
        assert "2: series 7, CT, 'Abdomen thick', 4 frames" in message
        assert "series=" in message
        assert "Test" not in message

    @pytest.mark.parametrize(
        ("choice", "count"), [("1", 6), ("2", 4), ("THICK", 4), ("1.2.3.99", 6)]
    )
    def test_are_chosen_by_number_description_or_uid(
        self, folder: Path, choice: str, count: int
    ) -> None:
        assert len(io.read(folder, series=choice)) == count

    @pytest.mark.parametrize("choice", ["abdomen", "3", "liver", ""])
    def test_a_choice_that_fits_none_or_both_is_refused(self, folder: Path, choice: str) -> None:
        with pytest.raises(UsageError, match="1: series 3"):
            io.read(folder, series=choice)

    def test_localizers_of_one_series_are_parts_to_choose_from(self, tmp_path: Path) -> None:
        folder = tmp_path / "scout"
        write_series(folder / "a", along((0, 0, 2.0), 3))
        write_series(folder / "b", along((2.0, 0, 0), 4), (0, 1, 0, 0, 0, -1))
        with pytest.raises(
            UsageError, match=r"3 frames of 6 x 9, axial; 2: .*4 frames of 6 x 9, sagittal"
        ):
            io.read(folder)
        assert len(io.read(folder, series="2")) == 4

    def test_slices_of_another_size_are_a_part_of_their_own(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "series", along((0, 0, 2.0), 3))
        large = np.zeros((1, 12, 12), np.int16)
        write_series(folder / "more", along((0, 0, 2.0), 1, (0, 0, 50)), pixels=large)
        with pytest.raises(UsageError, match=r"6 x 9.*12 x 12"):
            io.read(folder)


class TestOverTime:
    def test_a_cine_of_one_slice_is_a_video_with_times(self, tmp_path: Path) -> None:
        each = [{"TriggerTime": 500.0 - 100 * number} for number in range(5)]
        stack = io.read(
            write_series(
                tmp_path / "cine", along((0, 0, 0), 5), each=each, SOPClassUID=MR, Modality="MR"
            )
        )
        assert stack.kind == "video"
        assert stack.times_s == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
        assert whole(stack)[:, 0, 0].tolist() == [400, 300, 200, 100, 0]

    def test_volumes_over_time_ask_which_and_are_taken_apart(self, tmp_path: Path) -> None:
        positions = along((0, 0, 2.0), 3) * 2
        each = [{"AcquisitionTime": "120000.5"}] * 3 + [{"AcquisitionTime": "115959.25"}] * 3
        folder = write_series(tmp_path / "phases", positions, each=each)
        with pytest.raises(
            UsageError, match=r"2 volumes at the same 3 positions \(they differ in AcquisitionTime"
        ):
            io.read(folder)
        assert whole(io.read(folder, volume=0))[:, 0, 0].tolist() == [300, 400, 500]
        second = io.read(folder, volume=1)
        assert whole(second)[:, 0, 0].tolist() == [0, 100, 200]
        assert second.kind == "volume"
        check_places(second, positions, AXIAL)
        with pytest.raises(UsageError, match="no volume 2"):
            io.read(folder, volume=2)

    def test_a_volume_that_does_not_exist_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no volume 3"):
            io.read(write_series(tmp_path / "series", along((0, 0, 2.0), 3)), volume=3)


class TestValues:
    def read_one(self, tmp_path: Path, pixels: np.ndarray, **tags: Any) -> Stack:
        data = header(MR, "MR", **tags)
        return io.read(save(set_pixels(data, pixels), tmp_path / "one.dcm"))

    def test_slope_and_intercept_of_each_slice_are_applied(self, tmp_path: Path) -> None:
        each = [{"RescaleSlope": 1 + number / 2, "RescaleIntercept": -1000} for number in range(3)]
        stack = io.read(write_series(tmp_path / "pet", along((0, 0, 2.0), 3), each=each))
        assert stack.source.dtype == np.float32
        for number in range(3):
            wanted = slice_pixels(number) * (1 + number / 2) - 1000
            assert np.array_equal(stack[number], wanted.astype(np.float32))

    @pytest.mark.parametrize(
        ("bits", "signed", "slope", "intercept", "dtype"),
        [(12, 0, 1, -1024, np.int16), (16, 1, 1, -1024, np.float32), (16, 0, 1, 0, np.uint16), (16, 1, 1, 0, np.int16),
         (12, 0, 0.5, 0, np.float32), (15, 0, 2, -8192, np.float32)],
    )  # fmt: skip
    def test_values_are_held_by_the_smallest_exact_type(
        self, tmp_path: Path, bits: int, signed: int, slope: float, intercept: float, dtype: type
    ) -> None:
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        pixels = np.array([[low, high], [0, 1]]).astype(np.int16 if signed else np.uint16)
        stack = self.read_one(tmp_path, pixels, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=signed,
                              RescaleSlope=slope, RescaleIntercept=intercept)  # fmt: skip
        assert stack.source.dtype == dtype
        assert np.array_equal(stack[0], pixels.astype(np.float64) * slope + intercept)

    def test_a_slope_of_zero_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ReadError, match="RescaleSlope of 0"):
            self.read_one(tmp_path, np.zeros((4, 4), np.int16), RescaleSlope=0, RescaleIntercept=0)

    def test_inverted_images_keep_their_values_and_say_so(self, tmp_path: Path) -> None:
        pixels = np.arange(16, dtype=np.int16).reshape(4, 4)
        stack = self.read_one(tmp_path, pixels, PhotometricInterpretation="MONOCHROME1")
        assert stack.meta["inverted"] is True
        assert np.array_equal(stack[0], pixels)

    def test_the_window_of_the_file_is_noted(self, tmp_path: Path) -> None:
        stack = self.read_one(
            tmp_path, np.zeros((4, 4), np.int16), WindowCenter=[40, 500], WindowWidth=[400, 1500]
        )
        assert stack.meta["window"] == (-160.0, 240.0)

    def test_a_modality_table_is_looked_up(self, tmp_path: Path) -> None:
        table = Dataset()
        table.LUTDescriptor, table.LUTData, table.ModalityLUTType = (
            [4, 0, 16],
            [10, 200, 3000, 40000],
            "US",
        )
        table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
        pixels = np.array([[0, 1], [2, 3]], np.uint16)
        stack = self.read_one(tmp_path, pixels, PixelRepresentation=0, ModalityLUTSequence=[table])
        assert stack[0].tolist() == [[10, 200], [3000, 40000]]

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


class TestMultiFrame:
    def test_frames_of_an_enhanced_file_are_sorted_by_their_positions(self, tmp_path: Path) -> None:
        positions = along((0, 0, 2.0), 5)
        stored = [positions[number] for number in (3, 0, 4, 1, 2)]
        stack = io.read(write_enhanced(tmp_path / "enhanced.dcm", stored))
        assert stack.meta["dicom_frames"] == (1, 3, 4, 0, 2)
        assert stack.geometry is not None
        assert stack.geometry.affine[:3, 3] == pytest.approx(np.array(positions[0]) * (-1, -1, 1))
        assert stack.spacing_zyx_mm == pytest.approx((2.0, 0.7, 0.4))
        assert np.array_equal(stack[0], slice_pixels(1) * 2 - 100)

    def test_an_enhanced_file_over_time_asks_which(self, tmp_path: Path) -> None:
        positions = along((0, 0, 2.0), 3) * 2
        path = write_enhanced(
            tmp_path / "4d.dcm", positions, TemporalPositionIndex=[2, 2, 2, 1, 1, 1]
        )
        with pytest.raises(UsageError, match="2 volumes at the same 3 positions"):
            io.read(path)
        assert io.read(path, volume=0).meta["dicom_frames"] == (3, 4, 5)

    @pytest.mark.parametrize(
        ("tags", "times"),
        [({"FrameTime": 40.0}, [0, 0.04, 0.08]), ({"FrameTimeVector": [0, 20, 60]}, [0, 0.02, 0.08]),
         ({"RecommendedDisplayFrameRate": 20}, [0, 0.05, 0.1]), ({"CineRate": 10}, [0, 0.1, 0.2]), ({}, None)],
    )  # fmt: skip
    def test_a_clip_is_a_video_with_the_times_of_its_tags(
        self, tmp_path: Path, tags: dict[str, Any], times: list[float] | None
    ) -> None:
        stack = io.read(write_clip(tmp_path / "clip.dcm", 3, **tags))
        assert stack.kind == "video"
        assert [int(frame.max()) for frame in whole(stack)] == [0, 1, 2]
        assert (stack.times_s is None) if times is None else stack.times_s == pytest.approx(times)

    def test_clips_of_one_series_are_chosen_by_number(self, tmp_path: Path) -> None:
        for name, count in (("a.dcm", 3), ("b.dcm", 5)):
            write_clip(tmp_path / "exam" / name, count, FrameTime=40.0)
        with pytest.raises(UsageError, match=r"file a\.dcm.*file b\.dcm"):
            io.read(tmp_path / "exam")
        assert len(io.read(tmp_path / "exam", series="2")) == 5


class TestFolders:
    def test_other_files_are_left_out_with_a_note(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "series", along((0, 0, 2.0), 3))
        (folder / "readme.txt").write_text("hello")
        (folder / ".hidden.dcm").write_text("not DICOM")
        shutil.copy(sample("rtplan.dcm"), folder / "plan.dcm")
        stack = io.read(folder)
        assert len(stack) == 3
        assert stack.meta["notes"] == (
            "1 files left out: not an image",
            "1 files left out: not DICOM",
        )

    def test_files_without_an_ending_are_found(self, tmp_path: Path) -> None:
        folder = write_series(
            tmp_path / "series", along((0, 0, 2.0), 3), names=["IM1", "IM2", "IM3"]
        )
        assert len(io.read(folder)) == 3

    def test_a_folder_of_frames_stays_one_beside_a_folder_of_dicom(self, tmp_path: Path) -> None:
        write_series(tmp_path / "dicom", along((0, 0, 2.0), 3))
        assert len(io.read(tmp_path)) == 3
        Image.new("L", (8, 6)).save(tmp_path / "1.png")
        assert io.read(tmp_path).kind == "video"

    def test_a_folder_without_images_says_what_it_holds(self, tmp_path: Path) -> None:
        shutil.copy(sample("rtplan.dcm"), tmp_path / "plan.dcm")
        with pytest.raises(ReadError, match="1 not an image"):
            io.read(tmp_path)

    def test_images_without_positions_keep_their_instance_order(self, tmp_path: Path) -> None:
        for number in range(3):
            data = header(MR, "MR", InstanceNumber=3 - number)
            save(set_pixels(data, slice_pixels(number)), tmp_path / "s" / f"{number}.dcm")
        stack = io.read(tmp_path / "s")
        assert stack.geometry is None
        assert whole(stack)[:, 0, 0].tolist() == [200, 100, 0]
        assert any("instance numbers" in note for note in stack.meta["notes"])
