"""Contours of structure sets in millimetres."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from support.data import data_folder
from support.dicom_files import (
    AXIAL,
    COLUMNS,
    CT,
    ROWS,
    along,
    header,
    oblique,
    save,
    set_pixels,
    write_clip,
    write_series,
)
from support.dicom_masks import COUNT, labels, masks_of, series

from segscope import io
from segscope.errors import UsageError
from segscope.io.dicom.rtstruct_writer import format_decimal
from segscope.masks import Masks


class TestRtStruct:
    def test_real_structure_sets_give_their_masks(self) -> None:
        for name in ("CT", "PET", "MR_T1"):
            stack = io.read(data_folder(f"dicom_ct_pet_mr_rtstruct/{name}"))
            found = io.read_masks(
                data_folder(f"dicom_ct_pet_mr_rtstruct/masks/{name}_rtstruct.dcm"), stack
            )
            wanted = io.read_masks(
                data_folder(f"dicom_ct_pet_mr_rtstruct/masks/{name}.nii.gz"), stack
            )
            assert np.array_equal(found.labels > 0, wanted.labels > 0)

    @pytest.mark.parametrize("axis", [1, 2])
    def test_masks_along_another_axis_come_back(self, tmp_path: Path, axis: int) -> None:
        stored = series(tmp_path / "ct", oblique())
        stack = stored.along(axis)
        turned = np.moveaxis(labels(), axis, 0)
        masks = replace(Masks.from_labels(turned, geometry=stack.geometry), axis=axis)
        io.write(masks, tmp_path / "out.rtstruct.dcm", stack)
        back = io.read_masks(tmp_path / "out.rtstruct.dcm", stack)
        assert np.array_equal(back.labels, turned)
        assert back.axis == axis
        assert np.array_equal(io.read_masks(tmp_path / "out.rtstruct.dcm", stored).labels, labels())

    def test_without_a_scan_it_asks_for_one(self, tmp_path: Path) -> None:
        stack = series(tmp_path / "ct")
        io.write(masks_of(stack), tmp_path / "out.rtstruct.dcm", stack)
        with pytest.raises(UsageError, match="like="):
            io.read_masks(tmp_path / "out.rtstruct.dcm")

    def test_a_scan_without_positions_is_refused(self, tmp_path: Path) -> None:
        stack = io.read(write_clip(tmp_path / "clip.dcm", COUNT, (ROWS, COLUMNS)))
        with pytest.raises(UsageError, match="positions"):
            io.write(Masks.from_labels(labels()), tmp_path / "out.rtstruct.dcm", stack)

    @pytest.mark.parametrize(
        "name", ["PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"]
    )
    def test_the_refusal_names_what_the_headers_lack(self, tmp_path: Path, name: str) -> None:
        folder = write_series(tmp_path / "ct", along((0, 0, 2.5), 1))
        (file,) = folder.iterdir()
        data = pydicom.dcmread(file)
        del data[name]
        data.save_as(file)
        stack = io.read(folder)
        with pytest.raises(UsageError, match=rf"\(no valid {name}\);"):
            io.check_output(tmp_path / "out.rtstruct.dcm", stack)

    def test_contours_beyond_64_kib_are_written_whole(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        data = header(CT, "CT", ImagePositionPatient=[0, 0, 0], ImageOrientationPatient=list(AXIAL),
                      PixelSpacing=[1.1, 1.1])  # fmt: skip
        stack = io.read(save(set_pixels(data, np.zeros((90, 90), np.int16)), tmp_path / "one.dcm"))
        comb = np.zeros((1, 90, 90), np.uint8)
        comb[0, 0], comb[0, :, ::2] = 1, 1
        comb[0, 1:, 1::2] = rng.random((89, 45)) < 0.3
        io.write(
            Masks.from_labels(comb, geometry=stack.geometry), tmp_path / "out.rtstruct.dcm", stack
        )
        assert (tmp_path / "out.rtstruct.dcm").stat().st_size > 2**16
        assert np.array_equal(io.read_masks(tmp_path / "out.rtstruct.dcm", stack).labels, comb)

    @pytest.mark.parametrize(
        "value", [0.0, -0.00001, 1 / 3, -1234.56789, 123456789.123456, -1e-9, 1e20]
    )
    def test_decimal_strings_fit_into_16_characters(self, value: float) -> None:
        text = format_decimal(value)
        assert len(text) <= 16
        assert float(text) == pytest.approx(value, abs=1e-4, rel=1e-8)
