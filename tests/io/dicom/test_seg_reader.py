"""DICOM SEG of ours and of other programs, put in its place."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from support.data import data_folder
from support.dicom_files import (
    COLUMNS,
    ROWS,
    oblique,
)
from support.dicom_masks import BOTH, masks_of, places_of, series

from segscope import io
from segscope.errors import ReadError, UsageError


class TestBothFormats:
    @BOTH
    @pytest.mark.parametrize("keep", [0, 150, 900, 0.5, 0.97])
    def test_a_cut_off_file_is_one_paragraph(
        self, tmp_path: Path, suffix: str, keep: float
    ) -> None:
        stack = series(tmp_path / "ct")
        path = tmp_path / f"out{suffix}"
        io.write(masks_of(stack), path, stack)
        data = path.read_bytes()
        path.write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
        with pytest.raises((ReadError, UsageError), match="out"):
            io.read_masks(path, stack)

    @BOTH
    def test_an_object_without_a_name_stays_without(self, tmp_path: Path, suffix: str) -> None:
        stack = series(tmp_path / "ct")
        io.write(masks_of(stack, {4: "", 9: "object 4"}), tmp_path / f"out{suffix}", stack)
        back = io.read_masks(tmp_path / f"out{suffix}", stack)
        assert back.names == {4: "", 9: "object 4"}

    @BOTH
    def test_names_longer_than_a_label_are_cut_with_a_warning(
        self, tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        stack = series(tmp_path / "ct")
        names = {4: "a" * 64, 9: "b" * 65}
        with caplog.at_level(logging.WARNING, "segscope.io"):
            io.write(masks_of(stack, names), tmp_path / f"out{suffix}", stack)
        (record,) = caplog.records
        assert record.getMessage().endswith(f"64 characters of a DICOM label: {'b' * 65}")
        back = io.read_masks(tmp_path / f"out{suffix}", stack)
        assert back.names == {4: "a" * 64, 9: "b" * 64}


class TestSeg:
    def test_it_lies_in_its_place_without_its_scan_too(self, tmp_path: Path) -> None:
        stack = series(tmp_path / "ct", oblique())
        masks = masks_of(stack)
        io.write(masks, tmp_path / "out.dcm", stack)
        found = io.read_masks(tmp_path / "out.dcm")
        assert found.shape_zyx == (5, ROWS, COLUMNS)
        for object_id in (4, 9):
            np.testing.assert_allclose(
                places_of(found, object_id), places_of(masks, object_id), atol=1e-3
            )

    def test_real_segmentations_of_another_program(self) -> None:
        stack = io.read(data_folder("dicom_ct_liver/ct"))
        liver = io.read_masks(data_folder("dicom_ct_liver/seg/liver.dcm"), stack)
        wanted = io.read_masks(data_folder("dicom_ct_liver/seg/liver_seg.nrrd"), stack)
        assert liver.names == {1: "Liver"}
        assert np.array_equal(liver.labels > 0, wanted.labels > 0)
        parts = io.read_masks(data_folder("dicom_ct_liver/seg/partial_overlaps.dcm"), stack)
        assert {number: int(parts.of(number).sum()) for number in parts.object_ids} == {
            1: 9602, 2: 11888, 3: 117 + 117 + 10509, 4: 6693, 5: 4713
        }  # fmt: skip
