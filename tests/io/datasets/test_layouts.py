"""Lists of cases: every layout gives the same cases, and a list that lies is refused."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from support.dataset_lists import image

from segscope import io
from segscope.errors import ReadError
from segscope.io.datasets.reading import read_cases, read_dataset, read_image, read_target


def volume(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(np.full((5, 4, 3), value, np.uint8), np.eye(4)).to_filename(path)
    return path


class TestOwn:
    def test_items(self, tmp_path: Path) -> None:
        image(tmp_path / "images/a.png"), image(tmp_path / "masks/a.png", 255)
        item = {
            "id": "a",
            "image": "images/a.png",
            "split": "val",
            "group": "patient 3",
            "item_modality": "US",
            "targets": [{"path": "masks/a.png", "label": "lesion", "kind": "binary"}],
        }
        document = {
            "modality": "mixed",
            "labels": {"1": "core", "rim": 2, "0": "void"},
            "items": [item],
        }
        (tmp_path / "dataset.json").write_text(json.dumps(document))
        (case,) = read_cases(tmp_path)
        assert (case.id, case.split, case.group, case.modality) == ("a", "val", "patient 3", "US")
        assert case.targets[0].names == {1: "core", 2: "rim"}
        masks = read_target(case.targets[0], io.read(case.image))
        assert masks.names == {1: "lesion"}
        assert masks.area(0, 1) == 15

    @pytest.mark.parametrize(
        "change",
        [
            {"image": "gone.png"},
            {"targets": [{"path": "gone.png"}]},
            {"split": "later"},
            {"id": None, "image": 3},
        ],
    )
    def test_items_that_lie(self, change: dict[str, object], tmp_path: Path) -> None:
        image(tmp_path / "a.png")
        item = {"id": "a", "image": "a.png", "targets": [], "split": "train", **change}
        (tmp_path / "dataset.json").write_text(json.dumps({"items": [item]}))
        with pytest.raises(ReadError):
            read_cases(tmp_path)

    def test_what_a_list_says_of_its_set_and_its_cases(self, tmp_path: Path) -> None:
        image(tmp_path / "a.png"), image(tmp_path / "a_0.png", 1)
        more = {
            "scribbles": ["a_0.png"],
            "source_set": "elsewhere",
            "license": "CC0",
            "pixel_size_um": [0.5, 0.25],
            "fold": 2,
        }
        document = {
            "name": "small",
            "modality": "US",
            "license": "mixed",
            "labels": {"1": "rim"},
            "items": [{"id": "a", "image": "a.png", **more}],
        }
        (tmp_path / "dataset.json").write_text(json.dumps(document))
        found = read_dataset(tmp_path)
        assert (found.name, found.modality, found.licence, found.labels) == (
            "small",
            "US",
            "mixed",
            {1: "rim"},
        )
        assert (found.layout, found.listing) == ("segscope", tmp_path / "dataset.json")
        (case,) = found.cases
        assert (case.dataset, case.source, case.licence, case.group, case.fold) == (
            "small",
            "elsewhere",
            "CC0",
            "a",
            2,
        )
        assert case.scribbles == (tmp_path / "a_0.png",)
        assert read_image(case).spacing_zyx_mm == pytest.approx((1, 0.0005, 0.00025))


class TestOthers:
    def test_nnunet(self, tmp_path: Path) -> None:
        for number in ("0000", "0001"):
            volume(tmp_path / f"imagesTr/liver_001_{number}.nii.gz")
        (
            volume(tmp_path / "labelsTr/liver_001.nii.gz", 2),
            volume(tmp_path / "imagesTs/liver_002_0000.nii.gz"),
        )
        document = {
            "channel_names": {"0": "MRI"},
            "labels": {"background": 0, "liver": 1, "tumour": 2},
            "numTraining": 1,
            "file_ending": ".nii.gz",
        }
        (tmp_path / "dataset.json").write_text(json.dumps(document))
        first, second = read_cases(tmp_path)
        assert (first.id, first.split, first.modality) == ("liver_001", "train", "MRI")
        assert [path.name for path in first.channels] == ["liver_001_0001.nii.gz"]
        assert (second.id, second.split, second.targets) == ("liver_002", "test", ())
        assert read_target(first.targets[0], io.read(first.image)).names == {2: "tumour"}

    def test_monai(self, tmp_path: Path) -> None:
        for name in ("a", "b", "c"):
            volume(tmp_path / f"im/{name}.nii.gz"), volume(tmp_path / f"la/{name}.nii.gz", 1)
        document = {
            "training": [{"image": "im/a.nii.gz", "label": "./la/a.nii.gz", "fold": 0}],
            "validation": [{"image": ["im/b.nii.gz"], "label": "la/b.nii.gz"}],
            "testing": ["im/c.nii.gz"],
        }
        (tmp_path / "list.json").write_text(json.dumps(document))
        found = read_cases(tmp_path / "list.json")
        assert [case.split for case in found] == ["train", "val", "test"]
        assert [len(case.targets) for case in found] == [1, 1, 0]

    def test_nnunet_of_version_1(self, tmp_path: Path) -> None:
        volume(tmp_path / "imagesTr/la_003.nii.gz"), volume(tmp_path / "labelsTr/la_003.nii.gz", 1)
        (tmp_path / "imagesTr/la_003.json").write_text("{}")
        files = {"image": "./imagesTr/la_003.nii.gz", "label": "./labelsTr/la_003.nii.gz"}
        document = {
            "modality": {"0": "MRI"},
            "labels": {"0": "background", "1": "atrium"},
            "file_ending": ".nii.gz",
            "training": [files],
        }
        (tmp_path / "dataset.json").write_text(json.dumps(document))
        (case,) = read_cases(tmp_path)
        assert (case.id, case.modality, case.targets[0].names) == ("la_003", "MRI", {1: "atrium"})

    def test_nnunet_that_names_its_files(self, tmp_path: Path) -> None:
        (
            volume(tmp_path / "raw/a_t1.nii.gz"),
            volume(tmp_path / "raw/a_t2.nii.gz"),
            volume(tmp_path / "raw/a.nii.gz", 1),
        )
        files = {"images": ["raw/a_t1.nii.gz", "raw/a_t2.nii.gz"], "label": "raw/a.nii.gz"}
        document = {
            "channel_names": {"0": "T1", "1": "T2"},
            "labels": {"core": 1},
            "dataset": {"a": files},
        }
        (tmp_path / "dataset.json").write_text(json.dumps(document))
        (case,) = read_cases(tmp_path)
        assert [file.name for file in case.files] == ["a_t1.nii.gz", "a_t2.nii.gz", "a.nii.gz"]

    @pytest.mark.parametrize(
        ("labels", "channels", "gone", "message"),
        [
            ({"whole": [1, 2], "core": 2}, 1, None, "region"),
            ({"core": 1}, 2, None, r"lacks its channels \[1\]"),
            ({"core": 1}, 1, "labelsTr/a.nii.gz", "has no mask a.nii.gz"),
        ],
    )
    def test_nnunet_that_lies(
        self,
        labels: dict[str, object],
        channels: int,
        gone: str | None,
        message: str,
        tmp_path: Path,
    ) -> None:
        volume(tmp_path / "imagesTr/a_0000.nii.gz"), volume(tmp_path / "labelsTr/a.nii.gz", 1)
        document = {
            "channel_names": {str(n): f"T{n}" for n in range(channels)},
            "labels": {"background": 0, **labels},
            "file_ending": ".nii.gz",
        }
        (tmp_path / "dataset.json").write_text(json.dumps(document))
        if gone:
            (tmp_path / gone).unlink()
        with pytest.raises(ReadError, match=message):
            read_cases(tmp_path)

    def test_monai_with_folds_absolute_paths_and_several_labels(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            volume(tmp_path / f"far/{name}.nii.gz"), volume(tmp_path / f"far/{name}_1.nii.gz", 1)
        volume(tmp_path / "far/b_2.nii.gz", 1)
        far = tmp_path / "far"
        document = {
            "modality": {"0": "CT"},
            "training": [
                {"image": str(far / "a.nii.gz"), "label": str(far / "a_1.nii.gz"), "fold": 0},
                {
                    "image": "../far/b.nii.gz",
                    "label": [["../far/b_1.nii.gz"], "../far/b_2.nii.gz"],
                    "fold": 1,
                },
            ],
        }
        (tmp_path / "near").mkdir()
        (tmp_path / "near/list.json").write_text(json.dumps(document))
        found = read_cases(tmp_path / "near/list.json")
        assert [case.fold for case in found] == [0, 1]
        assert [len(case.targets) for case in found] == [1, 2]
        assert {case.modality for case in found} == {"CT"}
        assert all(
            read_target(target, read_image(case)).runs for case in found for target in case.targets
        )

    @pytest.mark.parametrize(
        "text", ["", "[]", "{", '{"items": 3}', '{"training": [{"label": "x"}]}']
    )
    def test_damaged_lists(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "dataset.json").write_text(text)
        with pytest.raises(ReadError):
            read_cases(tmp_path)
