"""Multi-frame files whose frames share one geometry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from support.dicom_files import (
    AXIAL,
    SPACING,
    header,
    normal_of,
    oblique,
    save,
    set_pixels,
    slice_pixels,
    whole,
    world_lps,
)

from segscope import io
from segscope.errors import UsageError
from segscope.stack import Stack

NM = "1.2.840.10008.5.1.4.1.1.20"
PET = "1.2.840.10008.5.1.4.1.1.128"
FIRST = (-10.0, -20.0, -30.0)
COUNT = 4


def write_frames(path: Path, sop_class: str, modality: str, count: int, **tags: Any) -> Stack:
    data = header(sop_class, modality, NumberOfFrames=count, **tags)
    data.PixelSpacing = list(SPACING)
    set_pixels(data, np.stack([slice_pixels(number) for number in range(count)]))
    return io.read(save(data, path))


def check_frame(stack: Stack, frame: int, orientation: tuple[float, ...], offset: float) -> None:
    """A pixel of a frame lies `offset` mm along the normal from the first frame of the file."""
    assert stack.geometry is not None
    place = world_lps(FIRST, orientation, 3, 4) + offset * normal_of(orientation)
    found = (stack.geometry.affine @ (4, 3, frame, 1))[:3] * (-1, -1, 1)
    assert found == pytest.approx(place, abs=1e-5)


class TestNuclearMedicine:
    def read(self, path: Path, spacing: float, orientation: tuple[float, ...]) -> Stack:
        detector = Dataset()
        detector.ImagePositionPatient = list(FIRST)
        detector.ImageOrientationPatient = list(orientation)
        return write_frames(
            path,
            NM,
            "NM",
            COUNT,
            ImageType=["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"],
            DetectorInformationSequence=[detector],
            SliceVector=list(range(1, COUNT + 1)),
            NumberOfSlices=COUNT,
            FrameIncrementPointer=0x00540080,
            SpacingBetweenSlices=spacing,
            SliceThickness=9.0,
        )

    @pytest.mark.parametrize("orientation", [AXIAL, oblique()])
    def test_slices_are_stacked_along_the_normal(
        self, tmp_path: Path, orientation: tuple[float, ...]
    ) -> None:
        stack = self.read(tmp_path / "nm.dcm", 4.8, orientation)
        assert stack.kind == "volume"
        assert stack.spacing_zyx_mm == pytest.approx((4.8, *SPACING))
        for frame in range(COUNT):
            check_frame(stack, frame, orientation, 4.8 * frame)

    def test_a_negative_spacing_stacks_them_against_it(self, tmp_path: Path) -> None:
        stack = self.read(tmp_path / "nm.dcm", -4.8, AXIAL)
        assert whole(stack)[:, 0, 0].tolist() == [300, 200, 100, 0]
        check_frame(stack, COUNT - 1, AXIAL, 0.0)
        check_frame(stack, 0, AXIAL, -4.8 * 3)


def test_gates_of_nuclear_medicine_are_volumes(tmp_path: Path) -> None:
    detector = Dataset()
    detector.ImagePositionPatient = list(FIRST)
    detector.ImageOrientationPatient = list(AXIAL)
    stack_tags = {
        "ImageType": ["ORIGINAL", "PRIMARY", "RECON GATED TOMO", "EMISSION"],
        "DetectorInformationSequence": [detector],
        "SliceVector": [1, 2, 3, 1, 2, 3],
        "TimeSlotVector": [1, 1, 1, 2, 2, 2],
        "SpacingBetweenSlices": 4.0,
    }
    with pytest.raises(UsageError, match=r"TimeSlotVector: 1, 2\)"):
        write_frames(tmp_path / "nm.dcm", NM, "NM", 6, **stack_tags)
    second = io.read(tmp_path / "nm.dcm", volume=1)
    assert whole(second)[:, 0, 0].tolist() == [300, 400, 500]


class TestGridFrameOffsets:
    @pytest.mark.parametrize("start", [0.0, FIRST[2]])
    def test_frames_lie_at_their_offsets(self, tmp_path: Path, start: float) -> None:
        stack = write_frames(
            tmp_path / "pet.dcm",
            PET,
            "PT",
            COUNT,
            ImagePositionPatient=list(FIRST),
            ImageOrientationPatient=list(AXIAL),
            GridFrameOffsetVector=[start + 3.0 * number for number in range(COUNT)],
            FrameIncrementPointer=0x3004000C,
        )
        assert stack.spacing_zyx_mm == pytest.approx((3.0, *SPACING))
        for frame in range(COUNT):
            check_frame(stack, frame, AXIAL, 3.0 * frame)

    def test_a_vector_of_another_length_gives_no_place(self, tmp_path: Path) -> None:
        stack = write_frames(
            tmp_path / "pet.dcm",
            PET,
            "PT",
            COUNT,
            ImagePositionPatient=list(FIRST),
            ImageOrientationPatient=list(AXIAL),
            GridFrameOffsetVector=[0.0, 3.0],
            FrameIncrementPointer=0x3004000C,
        )
        assert stack.geometry is None
        assert any("no positions" in note for note in stack.meta["notes"])
