"""Data sets and folders of several: repeated ids, missing files, ground truth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.dataset_lists import image

from segscope import io
from segscope.errors import ReadError, UsageError
from segscope.io.datasets.dataset import GroundTruth
from segscope.io.datasets.reading import (
    list_datasets,
    read_cases,
    read_dataset,
    read_datasets,
    read_target,
)


class TestOwn:
    def test_two_of_one_name(self, tmp_path: Path) -> None:
        image(tmp_path / "a.png")
        (tmp_path / "dataset.json").write_text(
            json.dumps({"items": [{"id": "a", "image": "a.png"}] * 2})
        )
        with pytest.raises(ReadError, match="twice"):
            read_cases(tmp_path)

    @pytest.mark.parametrize("indexed", [True, False])
    def test_a_folder_of_several(self, indexed: bool, tmp_path: Path) -> None:
        for name in ("one", "two"):
            image(tmp_path / name / "a.png")
            (tmp_path / name / "dataset.json").write_text(
                json.dumps({"items": [{"id": "a", "image": "a.png"}]})
            )
        if indexed:
            (tmp_path / "index.json").write_text(json.dumps({"datasets": [{"name": "two"}]}))
        wanted = ["two"] if indexed else ["one", "two"]
        assert [found.name for found in read_datasets(tmp_path)] == wanted
        assert list_datasets(tmp_path) == [tmp_path / name for name in wanted]
        assert [found.name for found in read_datasets(tmp_path / "two")] == ["two"]
        with pytest.raises(UsageError, match="name one of them"):
            read_cases(tmp_path)

    def test_complaints_in_the_place_of_exceptions(self, tmp_path: Path) -> None:
        image(tmp_path / "a.png")
        items = [{"id": "a", "image": "a.png"}, {"id": "b", "image": "gone.png"}, {"id": "c"}]
        (tmp_path / "dataset.json").write_text(json.dumps({"items": items}))
        said: list[tuple[str, str]] = []
        found = read_dataset(
            tmp_path, lambda kind, case, _file, _message: said.append((kind, case))
        )
        assert [case.id for case in found.cases] == ["a", "b"]
        assert said == [("list", "c"), ("missing", "b")]


class TestOthers:
    def test_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="holds no cases"):
            read_cases(tmp_path)
        with pytest.raises(UsageError, match="does not exist"):
            read_cases(tmp_path / "none")


def test_instances_are_called_by_the_label(tmp_path: Path) -> None:
    image(tmp_path / "a.png", 7)
    masks = read_target(
        GroundTruth(tmp_path / "a.png", "nucleus", "instance"), io.read(image(tmp_path / "b.png"))
    )
    assert masks.names == {7: "nucleus"}
