"""DICOM frames to stacks: series, volumes over time, clips."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless
from support.dicom_checks import check_places
from support.dicom_files import (
    AXIAL,
    MR,
    along,
    header,
    save,
    set_pixels,
    slice_pixels,
    whole,
    write_clip,
    write_enhanced,
    write_series,
)

from segscope import io
from segscope.errors import ReadError, UsageError


class TestGapsAndDoubles:
    def test_a_copied_file_is_left_out_with_a_note(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "series", along((0, 0, 2.0), 4))
        shutil.copy(folder / "001.dcm", folder / "copy of 001.dcm")
        stack = io.read(folder)
        assert len(stack) == 4
        assert any("copies" in note for note in stack.meta["notes"])

    @pytest.mark.parametrize(
        "name", ["TriggerTime", "TemporalPositionIdentifier", "InstanceNumber"]
    )
    def test_frames_of_other_times_are_no_copies_though_they_share_a_uid(
        self, tmp_path: Path, name: str
    ) -> None:
        each = [{"InstanceNumber": 1, name: number + 1} for number in range(3)]
        folder = tmp_path / "cine"
        write_series(folder, along((0, 0, 0), 3), each=each, SOPInstanceUID="1.2.3.4")
        for file in sorted(folder.iterdir()):
            shutil.copy(file, folder / f"copy of {file.name}")
        stack = io.read(folder)
        assert whole(stack)[:, 0, 0].tolist() == [0, 100, 200]
        assert any("3 copies" in note for note in stack.meta["notes"])

    def test_images_with_other_pixels_are_no_copies_though_they_share_a_uid(
        self, tmp_path: Path
    ) -> None:
        folder = tmp_path / "cine"
        each = [{"InstanceNumber": 1}] * 2
        write_series(folder, along((0, 0, 0), 2), each=each, SOPInstanceUID="1.2.3.4")
        with pytest.raises(ReadError, match="nothing in the files tells them apart"):
            io.read(folder)

    def test_a_copy_in_another_encoding_is_left_out(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "series", along((0, 0, 2.0), 4))
        data = pydicom.dcmread(folder / "001.dcm")
        data.compress(RLELossless, generate_instance_uid=False)
        data.save_as(folder / "copy.dcm")
        assert len(io.read(folder)) == 4


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

    @pytest.mark.parametrize(
        "times",
        [
            [{"TriggerTime": 80}, {"TriggerTime": 40}, {"TriggerTime": 0}],
            [
                {"TriggerTime": 0, "AcquisitionTime": f"120000.{hundredths}"}
                for hundredths in ("08", "04", "00")
            ],
        ],
    )
    def test_a_cine_with_numbered_time_points_has_times(
        self, tmp_path: Path, times: list[dict[str, Any]]
    ) -> None:
        each = [
            {"TemporalPositionIdentifier": 3 - number, **elements}
            for number, elements in enumerate(times)
        ]
        stack = io.read(write_series(tmp_path / "cine", along((0, 0, 0), 3), each=each))
        assert whole(stack)[:, 0, 0].tolist() == [200, 100, 0]
        assert stack.times_s == pytest.approx([0, 0.04, 0.08])

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
        [
            ({"FrameTime": 40.0}, [0, 0.04, 0.08]),
            ({"FrameTimeVector": [0, 20, 60]}, [0, 0.02, 0.08]),
            ({"RecommendedDisplayFrameRate": 20}, [0, 0.05, 0.1]),
            ({"CineRate": 10}, [0, 0.1, 0.2]),
            ({}, None),
        ],
    )
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
    def test_images_without_positions_keep_their_instance_order(self, tmp_path: Path) -> None:
        for number in range(3):
            data = header(MR, "MR", InstanceNumber=3 - number)
            save(set_pixels(data, slice_pixels(number)), tmp_path / "s" / f"{number}.dcm")
        stack = io.read(tmp_path / "s")
        assert stack.geometry is None
        assert whole(stack)[:, 0, 0].tolist() == [200, 100, 0]
        assert any("instance numbers" in note for note in stack.meta["notes"])
