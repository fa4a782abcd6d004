"""What there is to learn from at a path: labels and masks, before a network sees them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segscope.errors import ReadError, UsageError
from segscope.masks import decode_runs
from segscope.session.examples.source import ExampleSource
from segscope.session.examples.source_masks import SourceImage
from segscope.session.examples.sources import open_source

SIZE = (20, 30)


def write_maps(folder: Path, *maps: np.ndarray) -> Path:
    for place in ("images", "masks"):
        (folder / place).mkdir(parents=True)
    for number, values in enumerate(maps):
        pixels = np.full(SIZE, 10 * number, np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        Image.fromarray(values.astype(np.uint8)).save(folder / "masks" / f"{number}.png")
    return folder


def blocks(*values: int) -> np.ndarray:
    """A map with a block of 3 x 2 pixels of each value, in two rows."""
    labels = np.zeros(SIZE, np.uint8)
    for number, value in enumerate(values):
        row = 1 + 4 * (number // 9)
        column = 1 + 3 * (number % 9)
        labels[row : row + 3, column : column + 2] = value
    return labels


def images_of(source: ExampleSource) -> list[SourceImage]:
    return [case.open(0) for case in source.cases]


def labels_of(source: ExampleSource) -> list[list[str]]:
    return [[mask.label for mask in image.masks] for image in images_of(source)]


def test_each_part_of_a_mask_is_an_object(tmp_path: Path) -> None:
    source = open_source(write_maps(tmp_path / "set", blocks(255, 255), blocks(255)))
    assert source.labels == ("",)
    assert labels_of(source) == [["", ""], [""]]


def test_few_values_without_names_are_classes(tmp_path: Path) -> None:
    source = open_source(write_maps(tmp_path / "set", blocks(1, 2, 2), blocks(2, 3)))
    assert source.labels == ("1", "2", "3")
    assert labels_of(source) == [["1", "2", "2"], ["2", "3"]]
    assert "'*' where each value is an object" in source.describe_labels()


def test_a_star_takes_values_as_objects(tmp_path: Path) -> None:
    folder = write_maps(tmp_path / "set", blocks(1, 2, 2))
    source = open_source(folder, "*")
    assert source.labels == ("",)
    first, second = images_of(source)[0].masks
    assert [first.pixels, second.pixels] == [6, 12]


def test_many_values_without_names_are_objects(tmp_path: Path) -> None:
    source = open_source(write_maps(tmp_path / "set", blocks(*range(1, 13)), blocks(1, 2)))
    assert source.labels == ("",)
    assert labels_of(source) == [[""] * 12, ["", ""]]


def describe(folder: Path, **changes: object) -> None:
    """Write a list of the cases of `write_maps`."""
    items = [
        {
            "id": str(number),
            "image": f"images/{number}.png",
            "targets": [{"path": f"masks/{number}.png", "label": "cell", "kind": "instance"}],
        }
        for number in range(len(list((folder / "images").iterdir())))
    ]
    document = {"name": "set", "items": items, **changes}
    (folder / "dataset.json").write_text(json.dumps(document))


def test_instances_are_one_label(tmp_path: Path) -> None:
    folder = write_maps(tmp_path / "set", blocks(1, 2, 3))
    describe(folder)
    source = open_source(folder, "cell")
    assert source.labels == ("cell",)
    assert labels_of(source) == [["cell"] * 3]


def test_classes_have_the_names_of_the_list(tmp_path: Path) -> None:
    folder = write_maps(tmp_path / "set", blocks(1, 2))
    item = {"id": "a", "image": "images/0.png"}
    item["targets"] = [{"path": "masks/0.png", "kind": "semantic"}]
    describe(folder, items=[item], labels={"1": "wall", "2": "cavity"})
    source = open_source(folder)
    assert source.labels == ("wall", "cavity")
    assert labels_of(source) == [["wall", "cavity"]]
    with pytest.raises(UsageError, match=r"no label 'lung'.*'wall', 'cavity'"):
        open_source(folder, "lung")
    with pytest.raises(UsageError, match="is for maps without names"):
        open_source(folder, "*")


def test_test_cases_are_used_only_where_there_are_no_others(tmp_path: Path) -> None:
    folder = write_maps(tmp_path / "set", blocks(1), blocks(1))
    describe(folder)
    document = json.loads((folder / "dataset.json").read_text())
    document["items"][0]["split"] = "test"
    (folder / "dataset.json").write_text(json.dumps(document))
    assert [case.name for case in open_source(folder).cases] == ["1"]
    document["items"][1]["split"] = "test"
    (folder / "dataset.json").write_text(json.dumps(document))
    assert len(open_source(folder).cases) == 2


def test_images_without_a_mask_are_noted(tmp_path: Path) -> None:
    folder = write_maps(tmp_path / "set", blocks(1), blocks(1))
    (folder / "masks" / "0.png").unlink()
    source = open_source(folder)
    assert [case.name for case in source.cases] == ["1"]
    assert "has 0 masks" in source.notes[0]
    (folder / "masks" / "1.png").unlink()
    with pytest.raises(UsageError, match=r"nothing to learn from.*has 0 masks"):
        open_source(folder)


def test_an_interpolated_mask_is_no_label_map(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = write_maps(tmp_path / "set", rng.integers(1, 200, SIZE))
    with pytest.raises(ReadError, match="scattered over single pixels"):
        images_of(open_source(folder))


def test_volumes_are_cut_along_an_axis(tmp_path: Path) -> None:
    voxels = np.zeros((6, 12, 14), np.uint8)
    voxels[2:4, 3:8, 4:9] = 1
    for place in ("images", "masks"):
        (tmp_path / "set" / place).mkdir(parents=True)
        np.save(tmp_path / "set" / place / "a.npy", voxels)
    (case,) = open_source(tmp_path / "set").cases
    image = case.open(2)
    assert image.stack.shape_zyx == (14, 6, 12)
    first = image.masks[0]
    assert first.frame == 4
    assert np.array_equal(decode_runs(first.runs, (6, 12)), voxels[:, :, 4] > 0)
