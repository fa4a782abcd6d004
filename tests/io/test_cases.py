"""Lists of cases: four layouts give the same cases, and a list that lies is refused."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from segscope import io
from segscope.errors import ReadError, UsageError
from segscope.io.cases import Target, cases, read_target


def picture(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((4, 5), value, np.uint8)
    pixels[0] = 0
    Image.fromarray(pixels).save(path)
    return path


def volume(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(np.full((5, 4, 3), value, np.uint8), np.eye(4)).to_filename(path)
    return path


class TestOwn:
    def test_items(self, tmp_path: Path) -> None:
        picture(tmp_path / "images/a.png"), picture(tmp_path / "masks/a.png", 255)
        item = {"id": "a", "image": "images/a.png", "split": "val", "group": "patient 3", "item_modality": "US",
                "targets": [{"path": "masks/a.png", "label": "lesion", "kind": "binary"}]}  # fmt: skip
        document = {"modality": "mixed", "labels": {"1": "core", "rim": 2, "0": "void"}, "items": [item]}
        (tmp_path / "dataset.json").write_text(json.dumps(document))
        (case,) = cases(tmp_path)
        assert (case.id, case.split, case.group, case.modality) == ("a", "val", "patient 3", "US")
        assert case.targets[0].names == {1: "core", 2: "rim"}
        masks = read_target(case.targets[0], io.read(case.image))
        assert masks.names == {1: "lesion"}
        assert masks.area(0, 1) == 15

    @pytest.mark.parametrize(
        "change",
        [{"image": "gone.png"}, {"targets": [{"path": "gone.png"}]}, {"split": "later"}, {"id": None, "image": 3}],
    )
    def test_items_that_lie(self, change: dict[str, object], tmp_path: Path) -> None:
        picture(tmp_path / "a.png")
        item = {"id": "a", "image": "a.png", "targets": [], "split": "train", **change}
        (tmp_path / "dataset.json").write_text(json.dumps({"items": [item]}))
        with pytest.raises(ReadError):
            cases(tmp_path)

    def test_two_of_one_name(self, tmp_path: Path) -> None:
        picture(tmp_path / "a.png")
        (tmp_path / "dataset.json").write_text(json.dumps({"items": [{"id": "a", "image": "a.png"}] * 2}))
        with pytest.raises(ReadError, match="twice"):
            cases(tmp_path)


class TestOthers:
    def test_nnunet(self, tmp_path: Path) -> None:
        for number in ("0000", "0001"):
            volume(tmp_path / f"imagesTr/liver_001_{number}.nii.gz")
        volume(tmp_path / "labelsTr/liver_001.nii.gz", 2), volume(tmp_path / "imagesTs/liver_002_0000.nii.gz")
        document = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "liver": 1, "tumour": 2},
                    "numTraining": 1, "file_ending": ".nii.gz"}  # fmt: skip
        (tmp_path / "dataset.json").write_text(json.dumps(document))
        first, second = cases(tmp_path)
        assert (first.id, first.split, first.modality) == ("liver_001", "train", "MRI")
        assert [path.name for path in first.channels] == ["liver_001_0001.nii.gz"]
        assert (second.id, second.split, second.targets) == ("liver_002", "test", ())
        assert read_target(first.targets[0], io.read(first.image)).names == {2: "tumour"}

    def test_monai(self, tmp_path: Path) -> None:
        for name in ("a", "b", "c"):
            volume(tmp_path / f"im/{name}.nii.gz"), volume(tmp_path / f"la/{name}.nii.gz", 1)
        document = {"training": [{"image": "im/a.nii.gz", "label": "./la/a.nii.gz", "fold": 0}],
                    "validation": [{"image": ["im/b.nii.gz"], "label": "la/b.nii.gz"}],
                    "testing": ["im/c.nii.gz"]}  # fmt: skip
        (tmp_path / "list.json").write_text(json.dumps(document))
        found = cases(tmp_path / "list.json")
        assert [case.split for case in found] == ["train", "val", "test"]
        assert [len(case.targets) for case in found] == [1, 1, 0]

    @pytest.mark.parametrize("ending", ["", "_mask", "_seg"])
    def test_pairs(self, ending: str, tmp_path: Path) -> None:
        for name in ("a", "b.2"):
            picture(tmp_path / f"images/{name}.png"), picture(tmp_path / f"masks/{name}{ending}.png", 1)
        assert [(case.id, case.targets[0].path.name) for case in cases(tmp_path)] == [
            ("a", f"a{ending}.png"), ("b.2", f"b.2{ending}.png")]  # fmt: skip
        picture(tmp_path / "images/c.png")
        with pytest.raises(ReadError, match=r"c\.png has 0 masks"):
            cases(tmp_path)

    def test_npz(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", imgs=np.zeros((3, 4, 5)), gts=np.ones((3, 4, 5), np.uint8))
        (case,) = cases(tmp_path)
        assert read_target(case.targets[0], io.read(case.image)).object_ids == (1,)

    def test_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="holds no cases"):
            cases(tmp_path)
        with pytest.raises(UsageError, match="does not exist"):
            cases(tmp_path / "none")

    @pytest.mark.parametrize("text", ["", "[]", "{", '{"items": 3}', '{"training": [{"label": "x"}]}'])
    def test_damaged_lists(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "dataset.json").write_text(text)
        with pytest.raises(ReadError):
            cases(tmp_path)


def test_instances_are_called_by_the_label(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 7)
    masks = read_target(Target(tmp_path / "a.png", "nucleus", "instance"), io.read(picture(tmp_path / "b.png")))
    assert masks.names == {7: "nucleus"}
