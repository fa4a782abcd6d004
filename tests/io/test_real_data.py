"""Real files of the development data: read, and masks written back on the grid."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from support.data import NO_DATA, data_folder, find_data

from segscope import io
from segscope.io.datasets.dataset import Case
from segscope.io.datasets.reading import read_cases, read_target

DATA = find_data()
FOREIGN = ("dicom", "video", "heart_cine")  # their formats have tests of their own
SETS = [
    path.parent
    for path in (sorted(DATA.glob("*/dataset.json")) if DATA else ())
    if not any(name in path.parent.name for name in FOREIGN)
]

pytestmark = pytest.mark.skipif(not SETS, reason=NO_DATA)


@pytest.mark.parametrize("folder", SETS, ids=lambda folder: folder.name)
def test_a_case_of_every_set(folder: Path, tmp_path: Path) -> None:
    case: Case = read_cases(folder)[0]
    stack = io.read(case.image)
    assert stack[len(stack) // 2].shape[:2] == stack.size_hw
    masks = [read_target(target, stack) for target in case.targets]
    assert masks
    assert all(found.shape_zyx == stack.shape_zyx for found in masks)
    assert any(found.runs for found in masks)
    ending = ".nii.gz" if ".nii" in case.image.name else ".seg.nrrd" if stack.geometry else ".tif"
    io.write(masks[0], tmp_path / f"m{ending}", stack)
    np.testing.assert_array_equal(
        io.read_masks(tmp_path / f"m{ending}", stack).labels, masks[0].labels
    )


@pytest.mark.parametrize("name", ["ct_mr_pet_sarcoma", "mri_cardiac_acdc", "mri_spine_sct"])
def test_volumes_agree_with_nibabel(name: str, tmp_path: Path) -> None:
    for case in read_cases(data_folder(name))[:4]:
        stack, image = io.read(case.image), nibabel.load(case.image)
        np.testing.assert_allclose(
            [stack[index] for index in range(len(stack))],
            np.asarray(image.dataobj).T,
            rtol=1e-6,
            atol=1e-3,
        )
        np.testing.assert_array_equal(stack.geometry.affine, image.affine)
        io.write(read_target(case.targets[0], stack), tmp_path / "m.nii.gz", stack)
        written = nibabel.load(tmp_path / "m.nii.gz")
        np.testing.assert_array_equal(written.affine, image.affine)
        for field in ("pixdim", "sform_code", "qform_code", "srow_x", "quatern_b", "qoffset_x"):
            np.testing.assert_array_equal(written.header[field], image.header[field])
