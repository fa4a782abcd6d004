"""Data sets without a list: pairs of folders and .npz cases."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.dataset_lists import image

from segscope import io
from segscope.errors import ReadError
from segscope.io.datasets.folders import stem_of
from segscope.io.datasets.reading import read_cases, read_image, read_target


class TestOthers:
    @pytest.mark.parametrize("form", ["{split}/images/a.png", "images/{split}/a.png"])
    def test_pairs_below_folders_of_splits(self, form: str, tmp_path: Path) -> None:
        for split in ("train", "valid"):
            file = form.format(split=split)
            image(tmp_path / file), image(tmp_path / file.replace("images", "masks"), 255)
        image(tmp_path / "test/images/b.png")
        found = {case.id: (case.split, len(case.targets)) for case in read_cases(tmp_path)}
        assert found == {"train/a": ("train", 1), "valid/a": ("val", 1), "test/b": ("test", 0)}

    @pytest.mark.parametrize("ending", ["", "_mask", "_seg"])
    def test_pairs(self, ending: str, tmp_path: Path) -> None:
        for name in ("a", "b.2"):
            (
                image(tmp_path / f"images/{name}.png"),
                image(tmp_path / f"masks/{name}{ending}.png", 1),
            )
        assert [(case.id, case.targets[0].path.name) for case in read_cases(tmp_path)] == [
            ("a", f"a{ending}.png"), ("b.2", f"b.2{ending}.png")]  # fmt: skip
        image(tmp_path / "images/c.png")
        with pytest.raises(ReadError, match=r"c\.png has 0 masks"):
            read_cases(tmp_path)

    def test_npz(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", imgs=np.zeros((3, 4, 5)), gts=np.ones((3, 4, 5), np.uint8))
        (case,) = read_cases(tmp_path)
        assert read_target(case.targets[0], io.read(case.image)).object_ids == (1,)

    def test_npz_with_boxes_and_without_truth(self, tmp_path: Path) -> None:
        voxels, boxes = np.zeros((3, 4, 5), np.uint8), np.array([{"z": 1}], object)
        (tmp_path / "val").mkdir()
        np.savez(
            tmp_path / "a.npz",
            imgs=voxels,
            gts=voxels + 2,
            spacing=np.array([0.5, 0.5, 2]),
            boxes=boxes,
        )
        np.savez(tmp_path / "val/b.npz", imgs=voxels, boxes=boxes)
        first, second = read_cases(tmp_path)
        assert read_image(first).spacing_zyx_mm == (2, 0.5, 0.5)
        assert read_image(replace(first, modality="MRI, T2")).modality == "MR"
        assert read_target(first.targets[0], read_image(first)).object_ids == (2,)
        assert (second.id, second.split, second.targets) == ("val/b", "val", ())


def test_a_pipe_named_like_a_case_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npz")
    assert [case.image.name for case in read_cases(tmp_path)] == ["a.npz"]


@pytest.mark.parametrize("name", ["a.nii.gz", "a.dcm.gz", "a.ome.tif", "a.png"])
def test_the_stem_of_a_name_has_no_part_of_its_suffix(name: str) -> None:
    assert stem_of(Path(name)) == "a"
