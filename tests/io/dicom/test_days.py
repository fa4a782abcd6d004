"""Series that pass midnight: frames and volumes in time stay in their order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.dicom_files import along, whole, write_enhanced, write_series

from segscope import io

TIMES = ("235958", "235959", "000001", "000002")
DATES = ("20200101", "20200101", "20200102", "20200102")
ONE_PLACE = along((0, 0, 0), 4)


def first_values(path: Path, volume: int | None = None) -> list[int]:
    return [int(value) for value in whole(io.read(path, volume=volume))[:, 0, 0]]


def note_of(path: Path) -> str:
    return " ".join(io.read(path).meta["notes"])


@pytest.mark.parametrize("kind", ["Acquisition", "Content"])
def test_a_cine_follows_its_dates(tmp_path: Path, kind: str) -> None:
    each: list[dict[str, Any]] = [
        {f"{kind}Time": time, f"{kind}Date": date} for time, date in zip(TIMES, DATES, strict=True)
    ]
    folder = write_series(tmp_path / "cine", ONE_PLACE, each=each)
    assert first_values(folder) == [0, 100, 200, 300]
    assert io.read(folder).times_s == pytest.approx([0, 1, 3, 4])
    assert "midnight" not in note_of(folder)


@pytest.mark.parametrize("dates", [{}, {"AcquisitionDate": "20200101"}])
def test_a_cine_without_a_second_date_follows_its_instance_numbers(
    tmp_path: Path, dates: dict[str, str]
) -> None:
    each: list[dict[str, Any]] = [
        {"AcquisitionTime": time, "InstanceNumber": number, **dates}
        for number, time in enumerate(TIMES, start=1)
    ]
    folder = write_series(tmp_path / "cine", ONE_PLACE, each=each)
    assert first_values(folder) == [0, 100, 200, 300]
    assert io.read(folder).times_s == pytest.approx([0, 1, 3, 4])
    assert "AcquisitionTime passes midnight by the instance numbers" in note_of(folder)


@pytest.mark.parametrize("times", [TIMES[::-1], ("070000", "080000", "220000", "230000")])
def test_times_that_agree_with_the_instance_numbers_are_of_one_day(
    tmp_path: Path, times: tuple[str, ...]
) -> None:
    each: list[dict[str, Any]] = [
        {"AcquisitionTime": time, "InstanceNumber": number}
        for number, time in enumerate(sorted(times), start=1)
    ]
    folder = write_series(tmp_path / "cine", ONE_PLACE, each=each)
    assert first_values(folder) == [0, 100, 200, 300]
    assert "midnight" not in note_of(folder)


@pytest.mark.parametrize("dated", [True, False])
def test_volumes_follow_each_other_over_midnight(tmp_path: Path, dated: bool) -> None:
    positions = along((0, 0, 2.0), 3) * 2
    each: list[dict[str, Any]] = [
        {"AcquisitionTime": time, "InstanceNumber": number}
        for number, time in enumerate(["235950"] * 3 + ["000010"] * 3, start=1)
    ]
    if dated:
        for elements, date in zip(each, ["20200101"] * 3 + ["20200102"] * 3, strict=True):
            elements["AcquisitionDate"] = date
    folder = write_series(tmp_path / "phases", positions, each=each)
    assert first_values(folder, volume=0) == [0, 100, 200]
    assert first_values(folder, volume=1) == [300, 400, 500]


@pytest.mark.parametrize(
    "stamps",
    [
        ["20200101235958", "20200101235959", "20200102000001", "20200102000002"],
        [f"2020010112000{second}.500000-0500" for second in (0, 1, 3, 4)],
        [
            "20200101235958+0100",
            "20200101225959+0000",
            "20200101190001-0400",
            "20200102000002+0100",
        ],
    ],
)
def test_frames_of_an_enhanced_file_follow_their_stamps(tmp_path: Path, stamps: list[str]) -> None:
    path = write_enhanced(tmp_path / "cine.dcm", ONE_PLACE, FrameAcquisitionDateTime=stamps)
    stack = io.read(path)
    assert stack.meta["dicom_frames"] == (0, 1, 2, 3)
    assert stack.times_s == pytest.approx([0, 1, 3, 4])
