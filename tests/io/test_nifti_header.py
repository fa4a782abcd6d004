"""NIfTI headers: geometry, units, and what cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from support.nifti_files import AFFINE, DATA, edited, make

from segscope import io
from segscope.errors import ReadError

ROTATED = nibabel.affines.from_matvec(
    np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) * [0.7, 0.7, 2.5], (-90, -120, 30)
)


class TestGeometry:
    def test_sform_comes_first(self, tmp_path: Path) -> None:
        image = nibabel.Nifti1Image(DATA, AFFINE)
        image.set_qform(np.diag([1.0, 2, 3, 1]), 1)
        image.set_sform(AFFINE, 2)
        image.to_filename(tmp_path / "a.nii")
        np.testing.assert_allclose(io.read(tmp_path / "a.nii").geometry.affine, AFFINE, atol=1e-6)

    def test_qform_serves_when_there_is_no_sform(self, tmp_path: Path) -> None:
        image = nibabel.Nifti1Image(DATA, None)
        image.set_qform(np.diag([-1.0, 2, 3, 1]), 1)
        image.to_filename(tmp_path / "a.nii")
        np.testing.assert_allclose(
            io.read(tmp_path / "a.nii").geometry.affine, np.diag([-1.0, 2, 3, 1]), atol=1e-6
        )

    def test_voxel_sizes_alone_are_noted(self, tmp_path: Path) -> None:
        path = edited(
            make(tmp_path / "a.nii"),
            sform_code=0,
            qform_code=0,
            pixdim=[1, 0.5, 0.6, 3, 0, 0, 0, 0],
        )
        stack = io.read(path)
        np.testing.assert_allclose(stack.spacing_zyx_mm, (3, 0.6, 0.5), rtol=1e-6)
        assert "no orientation" in stack.meta["notes"][0]

    def test_a_singular_sform_falls_back_to_the_qform(self, tmp_path: Path) -> None:
        path = edited(
            make(tmp_path / "a.nii"), sform_code=1, srow_x=0, srow_y=0, srow_z=0, qform_code=1
        )
        stack = io.read(path)
        assert "sform of the file is not usable" in stack.meta["notes"][0]
        assert stack.geometry is not None

    def test_a_matrix_of_nan_is_named_as_such(self, tmp_path: Path) -> None:
        path = edited(make(tmp_path / "a.nii"), sform_code=1, srow_x=np.nan, qform_code=0)
        assert "holds NaN" in io.read(path).meta["notes"][0]

    @pytest.mark.parametrize(("code", "differs"), [(0, False), (1, True)])
    def test_a_qform_that_differs_is_noted(self, code: int, differs: bool, tmp_path: Path) -> None:
        image = nibabel.Nifti1Image(DATA, AFFINE)
        image.set_sform(np.diag([2.0, 3, 4, 1]), 1)
        image.set_qform(np.diag([-2.0, 3, 4, 1]), code)
        image.to_filename(tmp_path / "a.nii")
        notes = io.read(tmp_path / "a.nii").meta.get("notes", ())
        assert [note for note in notes if "up to 24 mm apart: the sform is used" in note] == list(
            notes
        )
        assert bool(notes) == differs

    def test_forms_that_differ_by_rounding_are_not_noted(self, tmp_path: Path) -> None:
        assert "notes" not in io.read(make(tmp_path / "a.nii", affine=ROTATED)).meta

    @pytest.mark.parametrize("bad", [np.nan, np.inf, 0, -1])
    def test_no_usable_sizes_mean_no_geometry_rather_than_a_wrong_one(
        self, bad: float, tmp_path: Path
    ) -> None:
        path = edited(
            make(tmp_path / "a.nii"), sform_code=0, qform_code=0, pixdim=[1, bad, 1, 1, 0, 0, 0, 0]
        )
        stack = io.read(path)
        assert stack.geometry is None
        assert "no usable voxel sizes" in stack.meta["notes"][0]

    @pytest.mark.parametrize(("unit", "factor"), [("mm", 1.0), ("micron", 1e-3), ("meter", 1000.0)])
    def test_units_become_millimetres(self, unit: str, factor: float, tmp_path: Path) -> None:
        image = nibabel.Nifti1Image(DATA, np.diag([2.0, 3, 4, 1]))
        image.header.set_xyzt_units(unit)
        image.to_filename(tmp_path / "a.nii")
        np.testing.assert_allclose(
            io.read(tmp_path / "a.nii").spacing_zyx_mm, np.array([4, 3, 2]) * factor
        )


class TestScaling:
    @pytest.mark.parametrize(
        ("slope", "note"), [(0.0, None), (np.nan, None), (np.inf, "slope inf"), (2.0, None)]
    )
    def test_a_slope_that_is_not_usable_is_noted(
        self, slope: float, note: str | None, tmp_path: Path
    ) -> None:
        stack = io.read(edited(make(tmp_path / "a.nii"), scl_slope=slope, scl_inter=3))
        notes = " ".join(stack.meta.get("notes", ()))
        assert (note or "") in notes
        assert bool(notes) == bool(note)
        factor, shift = (2, 3) if slope == 2 else (1, 0)
        np.testing.assert_array_equal(stack[1], DATA[..., 1].T * factor + shift)


class TestValues:
    def test_analyze_is_refused(self, tmp_path: Path) -> None:
        make(tmp_path / "a.img", kind=nibabel.AnalyzeImage)
        with pytest.raises(ReadError, match="left from right"):
            io.read(tmp_path / "a.hdr")


class TestAxes:
    def test_vectors_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ReadError, match=r"7 x 6 x 5 x 1 x 3.*vectors"):
            io.read(make(tmp_path / "a.nii", np.zeros((7, 6, 5, 1, 3), np.float32)))


class TestLies:
    @pytest.mark.parametrize(
        "fields",
        [
            {"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]},
            {"dim": [3, 7, 6, 500, 1, 1, 1, 1]},
            {"dim": [0, 0, 0, 0, 0, 0, 0, 0]},
            {"dim": [3, 7, -6, 5, 1, 1, 1, 1]},
            {"dim": [9, 7, 6, 5, 1, 1, 1, 1]},
            {"vox_offset": 1e30},
            {"vox_offset": np.nan},
            {"vox_offset": 10},
            {"vox_offset": 100000},
            {"datatype": 9999},
            {"scl_slope": 1.0, "scl_inter": np.nan},
        ],
    )
    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
    def test_headers_that_cannot_be(
        self, name: str, fields: dict[str, Any], tmp_path: Path
    ) -> None:
        with pytest.raises(ReadError, match=r"a\.nii"):
            io.read(edited(make(tmp_path / name), **fields))
