"""Cine: frames of one place over time keep their place and their pixel size in every output."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom.dataset import Dataset
from support.dicom_files import MR, SPACING, along, oblique, world_lps, write_clip, write_series

from segscope import io
from segscope.cli.segment_output import describe, summarize_object
from segscope.contact_sheet import frame_text, size_text
from segscope.masks import Masks
from segscope.stack import Stack

PLACE = (-50.0, -60.0, 70.0)


@pytest.fixture
def cine(tmp_path: Path) -> Stack:
    each = [{"TriggerTime": 40.0 * number} for number in range(5)]
    positions = along((0, 0, 0), 5, PLACE)
    folder = tmp_path / "cine"
    write_series(folder, positions, oblique(), each=each, SOPClassUID=MR, Modality="MR")
    return io.read(folder)


@pytest.fixture
def ultrasound(tmp_path: Path) -> Stack:
    region = Dataset()
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = 0.02
    region.PhysicalDeltaY = 0.03
    path = write_clip(tmp_path / "us.dcm", SequenceOfUltrasoundRegions=[region], FrameTime=40.0)
    return io.read(path)


def masks_on(stack: Stack) -> Masks:
    labels = np.zeros(stack.shape_zyx, np.uint8)
    labels[0, 1:3, 2:5] = 1
    labels[1, 1:3, 2:4] = 1
    return Masks.from_labels(labels, geometry=stack.geometry, times_s=stack.times_s)


class TestGeometry:
    def test_each_frame_lies_where_its_header_puts_it(self, cine: Stack) -> None:
        assert cine.kind == "video"
        assert cine.geometry is not None
        assert cine.geometry.has_place
        assert cine.geometry.shares_place
        wanted = world_lps(PLACE, oblique(), 3, 4) * (-1, -1, 1)
        assert (cine.geometry.affine @ (4, 3, 0, 1))[:3] == pytest.approx(wanted, abs=1e-5)

    def test_the_third_axis_is_the_thickness_of_the_slice(self, cine: Stack) -> None:
        assert cine.spacing_zyx_mm == pytest.approx((2.0, *SPACING))

    def test_a_calibrated_ultrasound_has_a_pixel_size_and_no_place(self, ultrasound: Stack) -> None:
        assert ultrasound.spacing_zyx_mm == pytest.approx((1.0, 0.3, 0.2))
        assert ultrasound.geometry is not None
        assert not ultrasound.geometry.has_place
        assert ultrasound.geometry.shares_place
        assert ultrasound.meta["pixel_spacing_mm"] == pytest.approx((0.3, 0.2))


class TestOutputs:
    def test_nifti_has_the_place(self, cine: Stack, tmp_path: Path) -> None:
        io.write(masks_on(cine), tmp_path / "m.nii.gz", cine)
        written = nibabel.load(tmp_path / "m.nii.gz")
        assert cine.geometry is not None
        assert np.allclose(written.affine, cine.geometry.affine, atol=1e-4)
        assert written.header.get_zooms() == pytest.approx((SPACING[1], SPACING[0], 2.0))

    @pytest.mark.parametrize("name", ["m.nrrd", "m.mha"])
    def test_itk_reads_the_place(self, cine: Stack, tmp_path: Path, name: str) -> None:
        itk = pytest.importorskip("SimpleITK")
        io.write(masks_on(cine), tmp_path / name, cine)
        image = itk.ReadImage(str(tmp_path / name))
        assert image.GetSpacing() == pytest.approx((SPACING[1], SPACING[0], 2.0))
        wanted = world_lps(PLACE, oblique(), 3, 4)
        assert image.TransformIndexToPhysicalPoint((4, 3, 0)) == pytest.approx(wanted, abs=1e-5)

    @pytest.mark.parametrize("name", ["m.nii.gz", "m.nrrd", "m.mha", "m.tif", "m.npz"])
    def test_the_pixel_size_of_ultrasound_is_written(
        self, ultrasound: Stack, tmp_path: Path, name: str
    ) -> None:
        io.write(masks_on(ultrasound), tmp_path / name, ultrasound)
        written = io.read_masks(tmp_path / name).geometry
        assert written is not None
        assert written.spacing_zyx_mm[1:] == pytest.approx((0.3, 0.2))

    @pytest.mark.parametrize("name", ["m.nii.gz", "m.nrrd", "m.mha", "m.tif", "m.npz", "m.json"])
    @pytest.mark.parametrize("scan", ["cine", "ultrasound"])
    def test_masks_come_back_on_the_grid_of_their_scan(
        self, name: str, scan: str, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        stack = request.getfixturevalue(scan)
        masks = masks_on(stack)
        io.write(masks, tmp_path / name, stack)
        assert np.array_equal(io.read_masks(tmp_path / name, stack).labels, masks.labels)


class TestSizes:
    """Frames over time do not add up to a volume."""

    def test_the_summary_has_the_mean_area(self, cine: Stack) -> None:
        row = summarize_object(masks_on(cine), 1)
        assert "millilitres" not in row
        assert row["square_millimetres"] == pytest.approx(5 * SPACING[0] * SPACING[1])

    def test_the_contact_sheet_has_the_mean_area(self, cine: Stack) -> None:
        assert size_text(masks_on(cine), 1) == f"{5 * SPACING[0] * SPACING[1]:.4g} sq mm"

    def test_the_input_has_the_size_of_its_pixels(self, cine: Stack, ultrasound: Stack) -> None:
        assert describe(cine).endswith("0.7 x 0.4 mm")
        assert describe(ultrasound).endswith("0.3 x 0.2 mm")

    def test_frames_are_not_called_slices(self, cine: Stack) -> None:
        masks = Masks.from_labels(masks_on(cine).labels, geometry=cine.geometry)
        assert frame_text(masks, 1, prompted=False) == "frame 1"
