"""References to the scan: what cannot be referred to is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from support.dicom_files import (
    COLUMNS,
    ROWS,
    along,
    write_series,
)
from support.dicom_masks import BOTH, COUNT, labels, masks_of, series

from segscope import io
from segscope.errors import ReadError, UsageError
from segscope.stack import Stack


class TestBothFormats:
    @BOTH
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("StudyTime", "1"),
            ("StudyDate", "ANON"),
            ("StudyDate", "1997.04.24"),
            ("PatientBirthDate", "20261399"),
            ("PatientSex", "Unknown"),
            ("PatientName", "A\\B"),
            ("StudyID", "x" * 40),
        ],
    )
    def test_what_an_anonymiser_left_invalid_is_left_empty(
        self, tmp_path: Path, suffix: str, name: str, value: str
    ) -> None:
        series(tmp_path / "ct")
        for file in (tmp_path / "ct").iterdir():
            data = pydicom.dcmread(file)
            with pydicom.config.disable_value_validation():
                setattr(data, name, value)
                data.save_as(file)
        stack = io.read(tmp_path / "ct")
        io.write(masks_of(stack), tmp_path / f"out{suffix}", stack)
        assert not pydicom.dcmread(tmp_path / f"out{suffix}").get(name)
        assert np.array_equal(io.read_masks(tmp_path / f"out{suffix}", stack).labels, labels())

    @BOTH
    def test_a_stack_that_is_not_dicom_is_refused_with_other_formats(
        self, tmp_path: Path, suffix: str
    ) -> None:
        stack = Stack.from_array(np.zeros((COUNT, ROWS, COLUMNS), np.int16))
        for source in (stack, None):
            with pytest.raises(UsageError, match=r"seg\.nrrd"):
                io.write(masks_of(stack), tmp_path / f"out{suffix}", source)
        assert not list(tmp_path.iterdir())

    @BOTH
    def test_a_scan_that_is_gone_or_has_lost_its_numbers_is_refused(
        self, tmp_path: Path, suffix: str
    ) -> None:
        stack = series(tmp_path / "ct")
        gone = Path(stack.meta["dicom_files"][2])
        data = pydicom.dcmread(gone)
        gone.unlink()
        with pytest.raises(UsageError, match="is gone"):
            io.write(masks_of(stack), tmp_path / f"out{suffix}", stack)
        data.StudyInstanceUID = ""
        data.save_as(gone)
        with pytest.raises(UsageError, match="StudyInstanceUID"):
            io.write(masks_of(stack), tmp_path / f"out{suffix}", stack)
        assert [path.name for path in tmp_path.iterdir()] == ["ct"]

    @BOTH
    def test_a_mask_on_another_scan_is_refused(self, tmp_path: Path, suffix: str) -> None:
        stack = series(tmp_path / "ct")
        io.write(masks_of(stack), tmp_path / f"out{suffix}", stack)
        part = tmp_path / "part"
        part.mkdir()
        for file in stack.meta["dicom_files"][:3]:
            shutil.copy(file, part)
        between = io.read(
            write_series(tmp_path / "between", along((0, 0, 2.5), COUNT, (-12.5, 30.0, 8.5)))
        )
        for other in (io.read(part), between):
            with pytest.raises(ReadError, match="scan"):
                io.read_masks(tmp_path / f"out{suffix}", other)
