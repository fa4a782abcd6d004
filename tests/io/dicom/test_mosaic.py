"""Siemens mosaics, read as the volumes they are."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from support.dicom_files import MR, header, normal_of, oblique, save, set_pixels, whole

from segscope import io
from segscope.errors import ReadError, UsageError
from segscope.masks import Masks

ROWS, COLUMNS, COUNT, ACROSS = 16, 20, 7, 3
ROW_MM, COLUMN_MM, STEP_MM = 3.5, 3.0, 4.0
FIRST = np.array([-30.0, -40.0, 12.0])


def csa_header(elements: dict[str, tuple[str, list[str]]]) -> bytes:
    """A CSA header of the second kind: name, value representation and values as text."""
    content = b"SV10\4\3\2\1" + struct.pack("<2I", len(elements), 77)
    for name, (representation, values) in elements.items():
        content += struct.pack(
            "<64si4s3i",
            name.encode(),
            len(values),
            representation.encode(),
            0,
            max(6, len(values)),
            77,
        )
        for value in (*values, *[""] * (6 - len(values))):
            text = value.encode() + b"\0" if value else b""
            content += struct.pack("<4i", len(text), len(text), 77, len(text))
            content += text + bytes(-len(text) % 4)
    return content


def volume_of(seed: int) -> np.ndarray:
    """Slices (frame, row, column) in the order of their tiles."""
    return np.random.default_rng(seed).integers(1, 4000, (COUNT, ROWS, COLUMNS)).astype(np.uint16)


def write_mosaic(
    path: Path,
    seed: int = 0,
    orientation: tuple[float, ...] = oblique(),
    *,
    direction: int = 1,
    **tags: Any,
) -> Path:
    """A mosaic whose slices run along the normal of the image, or against it."""
    tiles = np.zeros((ACROSS**2, ROWS, COLUMNS), np.uint16)
    tiles[:COUNT] = volume_of(seed)
    grid = tiles.reshape(ACROSS, ACROSS, ROWS, COLUMNS).swapaxes(1, 2)
    image = np.ascontiguousarray(grid).reshape(ACROSS * ROWS, ACROSS * COLUMNS)
    along_row, along_column = np.array(orientation[:3]), np.array(orientation[3:])
    margin = (
        along_row * COLUMN_MM * COLUMNS * (ACROSS - 1) / 2
        + along_column * ROW_MM * ROWS * (ACROSS - 1) / 2
    )
    settings = {
        "Manufacturer": "SIEMENS",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"],
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
    }
    data = header(MR, "MR", **settings | tags)
    data.ImagePositionPatient = (FIRST - margin).round(9).tolist()
    data.ImageOrientationPatient = list(orientation)
    data.PixelSpacing = [ROW_MM, COLUMN_MM]
    data.SliceThickness = STEP_MM - 0.5
    data.SpacingBetweenSlices = STEP_MM
    data.EchoTime, data.RepetitionTime, data.FlipAngle = 30.0, 2000.0, 90.0
    data.SeriesDescription = data.ProtocolName = "ep2d"
    normal = normal_of(orientation) * direction
    elements = {
        "NumberOfImagesInMosaic": ("US", [str(COUNT)]),
        "SliceNormalVector": ("FD", [f"{value:.8f}" for value in normal]),
    }
    block = data.private_block(0x29, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x08, "CS", "IMAGE NUM 4")
    block.add_new(0x10, "OB", csa_header(elements))
    return save(set_pixels(data, image), path)


@pytest.mark.parametrize("orientation", [oblique(), (1.0, 0, 0, 0, 0, -1.0)])
@pytest.mark.parametrize("direction", [1, -1])
class TestGeometry:
    def test_each_voxel_lies_where_its_tile_says(
        self, tmp_path: Path, orientation: tuple[float, ...], direction: int
    ) -> None:
        path = write_mosaic(tmp_path / "m.dcm", 0, orientation, direction=direction)
        stack = io.read(path)
        assert stack.kind == "volume"
        assert stack.geometry is not None
        assert stack.spacing_zyx_mm == pytest.approx((STEP_MM, ROW_MM, COLUMN_MM))
        assert np.array_equal(whole(stack), volume_of(0)[::direction])
        step = normal_of(orientation) * direction * STEP_MM
        for number in (0, COUNT - 1):
            frame = number if direction == 1 else COUNT - 1 - number
            wanted = (FIRST + number * step) * (-1, -1, 1)
            assert (stack.geometry.affine @ (0, 0, frame, 1))[:3] == pytest.approx(wanted, abs=1e-5)

    def test_dcm2niix_agrees(
        self, tmp_path: Path, orientation: tuple[float, ...], direction: int
    ) -> None:
        program = shutil.which("dcm2niix")
        if program is None:
            pytest.skip("dcm2niix is not installed")
        for number in range(2):
            write_mosaic(
                tmp_path / "in" / f"{number}.dcm",
                number,
                orientation,
                direction=direction,
                AcquisitionNumber=number + 1,
                InstanceNumber=number + 1,
            )
        out = tmp_path / "out"
        out.mkdir()
        command = [program, "-z", "n", "-b", "n", "-f", "m", "-o", str(out), str(tmp_path / "in")]
        subprocess.run(command, check=True, capture_output=True)
        (converted,) = out.glob("*.nii")
        image = nibabel.load(converted)
        voxels = np.asarray(image.dataobj)
        for volume in range(2):
            stack = io.read(tmp_path / "in", volume=volume)
            assert stack.geometry is not None
            to_converted = np.linalg.inv(image.affine) @ stack.geometry.affine
            for index in ((0, 0, 0), (3, 5, 1), (COLUMNS - 1, ROWS - 1, COUNT - 1)):
                x, y, z, _ = to_converted @ (*index, 1)
                there = (round(x), round(y), round(z))
                assert (x, y, z) == pytest.approx(there, abs=1e-3)
                assert voxels[(*there, volume)] == stack[index[2]][index[1], index[0]]


def test_a_time_series_asks_which_volume(tmp_path: Path) -> None:
    for number in range(3):
        tags = {"AcquisitionNumber": number + 1, "InstanceNumber": number + 1}
        write_mosaic(tmp_path / "s" / f"{number}.dcm", number, **tags)
    with pytest.raises(UsageError, match=r"3 volumes at the same 7 positions"):
        io.read(tmp_path / "s")
    assert np.array_equal(whole(io.read(tmp_path / "s", volume=2)), volume_of(2))


def test_a_copy_of_the_file_is_left_out(tmp_path: Path) -> None:
    path = write_mosaic(tmp_path / "s" / "a.dcm")
    shutil.copy(path, path.with_name("b.dcm"))
    assert len(io.read(tmp_path / "s")) == COUNT


def test_masks_of_a_mosaic_refer_to_no_dicom_image(tmp_path: Path) -> None:
    stack = io.read(write_mosaic(tmp_path / "m.dcm"))
    masks = Masks.from_labels(np.ones(stack.shape_zyx, np.uint8), geometry=stack.geometry)
    with pytest.raises(
        UsageError, match=r"tiles of a mosaic\. Write .nii.gz or .seg.nrrd instead$"
    ):
        io.write(masks, tmp_path / "seg.dcm", stack)
    with pytest.raises(UsageError, match="overwritten"):
        io.check_output(tmp_path / "m.dcm", stack)
    io.write(masks, tmp_path / "seg.nii.gz", stack)
    assert np.array_equal(io.read_masks(tmp_path / "seg.nii.gz", stack).labels, masks.labels)


class TestDamaged:
    def change(self, tmp_path: Path, **tags: Any) -> Path:
        path = write_mosaic(tmp_path / "m.dcm")
        data = pydicom.dcmread(path)
        for name, value in tags.items():
            setattr(data, name, value)
        return save(data, path)

    def test_without_its_private_header_it_is_refused(self, tmp_path: Path) -> None:
        path = write_mosaic(tmp_path / "m.dcm")
        data = pydicom.dcmread(path)
        data.remove_private_tags()
        with pytest.raises(ReadError, match=r"mosaic.*CSA header.*dcm2niix"):
            io.read(save(data, path))

    def test_several_mosaics_in_one_file_are_refused(self, tmp_path: Path) -> None:
        path = self.change(tmp_path, NumberOfFrames=2, Rows=ACROSS * ROWS // 2)
        with pytest.raises(ReadError, match="2 mosaics in one file"):
            io.read(path)

    def test_tiles_that_do_not_divide_the_image_are_refused(self, tmp_path: Path) -> None:
        path = self.change(tmp_path, Rows=ACROSS * ROWS - 1)
        with pytest.raises(ReadError, match="3 x 3 tiles"):
            io.read(path)

    def test_any_byte_of_the_private_header_may_be_wrong(self, tmp_path: Path) -> None:
        path = write_mosaic(tmp_path / "m.dcm")
        rng = np.random.default_rng(2)
        for _ in range(60):
            data = pydicom.dcmread(path)
            element = data.private_block(0x29, "SIEMENS CSA HEADER")[0x10]
            content = bytearray(element.value)
            for place in rng.integers(0, len(content), 6):
                content[place] = rng.integers(256)
            element.value = bytes(content)
            changed = save(data, tmp_path / "changed.dcm")
            try:
                whole(io.read(changed))
            except ReadError:
                continue
