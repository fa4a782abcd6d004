"""DICOM files and folders, read as other programs read them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.data import data_folder
from support.dicom_files import (
    MR,
    along,
    header,
    sample,
    save,
    set_pixels,
    whole,
    write_series,
)

from segscope import io
from segscope.errors import ReadError, UsageError
from segscope.stack import Stack


class TestValues:
    def read_one(self, tmp_path: Path, pixels: np.ndarray, **tags: Any) -> Stack:
        data = header(MR, "MR", **tags)
        return io.read(save(set_pixels(data, pixels), tmp_path / "one.dcm"))

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


class TestFolders:
    def test_other_files_are_left_out_with_a_note(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "series", along((0, 0, 2.0), 3))
        (folder / "readme.txt").write_text("hello")
        (folder / ".hidden.dcm").write_text("not DICOM")
        shutil.copy(sample("rtplan.dcm"), folder / "plan.dcm")
        stack = io.read(folder)
        assert len(stack) == 3
        assert stack.meta["notes"] == (
            "1 file left out: not an image",
            "1 file left out: not DICOM",
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


class TestSamplesOfPydicom:
    @pytest.mark.parametrize(
        "name", ["rtplan.dcm", "test-SR.dcm", "reportsi.dcm", "waveform_ecg.dcm"]
    )
    def test_files_without_images_say_so(self, name: str) -> None:
        with pytest.raises(ReadError, match="not an image"):
            io.read(sample(name))

    def test_a_list_of_files_names_its_folder(self) -> None:
        with pytest.raises(ReadError, match=r"DICOMDIR\): name the folder"):
            io.read(sample("DICOMDIR"))

    def test_a_segmentation_is_not_read_as_an_image(self) -> None:
        with pytest.raises(UsageError, match="read it as masks"):
            io.read(sample("liver_1frame.dcm"))


class TestRealData:
    def test_series_agree_with_simpleitk_in_world_coordinates(self) -> None:
        itk = pytest.importorskip("SimpleITK")
        for name in (
            "dicom_ct_liver/ct",
            "dicom_ct_pet_mr_rtstruct/CT",
            "dicom_ct_pet_mr_rtstruct/PET",
        ):
            folder = data_folder(name)
            stack = io.read(folder)
            reader = itk.ImageSeriesReader()
            reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
            image = reader.Execute()
            array, mine = itk.GetArrayFromImage(image), whole(stack)
            assert stack.geometry is not None
            for index in ((0, 0, 0), (5, 9, 1), (20, 3, 2)):
                world = stack.geometry.affine @ (*index, 1)
                x, y, z = image.TransformPhysicalPointToIndex((-world[0], -world[1], world[2]))
                assert array[z, y, x] == pytest.approx(mine[index[2], index[1], index[0]], rel=1e-5)

    def test_a_real_clip_has_its_times(self) -> None:
        stack = io.read(data_folder("us_heart_cine_unlabelled/patient0500_2CH.dcm"))
        assert stack.kind == "video"
        assert stack.times_s is not None
        assert stack.times_s[-1] == pytest.approx(14 * 0.0667)

    def test_three_series_in_one_folder_are_listed(self) -> None:
        with pytest.raises(UsageError, match=r"PT.*CT.*MR"):
            io.read(data_folder("dicom_ct_pet_mr_rtstruct"))
        assert len(io.read(data_folder("dicom_ct_pet_mr_rtstruct"), series="MR_T1")) == 25
