from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segscope.errors import SegscopeError
from segscope.evaluate.protocol import Protocol
from segscope.evaluate.series.images import ImageReader, Series, list_series, order_images
from segscope.io.datasets.dataset import DataSet
from segscope.io.datasets.reading import read_dataset

LABELS = {"1": "square", "2": "other"}


@pytest.fixture(scope="module")
def layered(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """Two stacks of six slices: squares of class 1 on all of them, of class 2 on two of them; and
    specks.
    """
    root = tmp_path_factory.mktemp("layered")
    items = []
    for case in range(2):
        labels = np.zeros((6, 64, 64), np.uint8)
        labels[:, 4:24, 4:24] = 1
        labels[:, 40:52, 4:16] = 1
        labels[:, 60, 60] = 1
        labels[1:3, 30:50, 30:50] = 2
        for frame in range(6):
            for name, array in {"image": labels[frame] * 50, "truth": labels[frame]}.items():
                folder = root / f"{name}{case}"
                folder.mkdir(exist_ok=True)
                Image.fromarray(array).save(folder / f"{frame}.png")
        target = {"path": f"truth{case}", "kind": "semantic"}
        items.append({"id": f"c{case}", "image": f"image{case}", "targets": [target]})
    (root / "dataset.json").write_text(
        json.dumps({"name": "layered", "labels": LABELS, "items": items})
    )
    return read_dataset(root)


def series_of(dataset: DataSet, protocol: Protocol, images: int = 20) -> dict[str, Series]:
    found = list_series(dataset, dataset.cases, protocol, images)
    return {series.label: series for series in found}


def test_each_class_has_a_series_of_its_frames(layered: DataSet, protocol: Protocol) -> None:
    series = series_of(layered, protocol)
    assert set(series) == {"square", "other"}
    assert {(image.case.id, image.frame) for image in series["other"].images} == {
        (case, frame) for case in ("c0", "c1") for frame in (1, 2)
    }
    assert len(series["square"].images) == 12


def test_a_series_is_spread_over_cases_and_frames(layered: DataSet, protocol: Protocol) -> None:
    images = series_of(layered, protocol, 6)["square"].images
    assert sorted(image.case.id for image in images) == ["c0"] * 3 + ["c1"] * 3
    for case in ("c0", "c1"):
        thirds = [image.frame // 2 for image in images if image.case.id == case]
        assert thirds == [0, 1, 2]


def test_parts_are_objects_where_the_protocol_says_so(layered: DataSet, protocol: Protocol) -> None:
    reader = ImageReader()
    whole = series_of(layered, protocol)["square"].images
    areas = {int(reader.read(image)[1].sum()) for image in whole}
    assert areas == {400 + 144 + 1}
    parts = series_of(layered, replace(protocol, parts=True))["square"].images
    areas = {int(reader.read(image)[1].sum()) for image in parts}
    assert areas == {400, 144}  # both, but never the speck


def test_small_objects_and_other_labels_are_left_out(layered: DataSet, protocol: Protocol) -> None:
    large = replace(protocol, parts=True, least_pixels=200)
    reader = ImageReader()
    images = series_of(layered, large)["square"].images
    assert {int(reader.read(image)[1].sum()) for image in images} == {400}
    assert set(series_of(layered, replace(protocol, labels=("other",)))) == {"other"}


def test_an_image_is_its_frame_alone(layered: DataSet, protocol: Protocol) -> None:
    image = series_of(layered, protocol)["other"].images[0]
    stack, mask = ImageReader().read(image)
    assert stack.kind == "image"
    assert stack.size_hw == mask.shape == (64, 64)
    assert np.array_equal(mask, np.asarray(stack[0])[..., 0] == np.asarray(stack[0]).max())


def test_orders_keep_cases_together_and_differ(layered: DataSet, protocol: Protocol) -> None:
    series = series_of(layered, protocol)["square"]
    orders = [order_images(series, 0, order) for order in range(4)]
    for images in orders:
        assert sorted(map(id, images)) == sorted(map(id, series.images))
        cases = [image.case.id for image in images]
        assert sum(one != other for one, other in pairwise(cases)) == 1
    assert orders[0] == order_images(series, 0, 0)
    assert len({tuple(image.frame for image in images) for images in orders}) == 4


def test_the_seed_decides_the_objects(layered: DataSet, protocol: Protocol) -> None:
    parts = replace(protocol, parts=True)
    again = series_of(layered, parts)["square"]
    assert again == series_of(layered, parts)["square"]
    assert again != series_of(layered, replace(parts, seed=1))["square"]


def test_an_unread_case_names_itself(layered: DataSet, protocol: Protocol, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    cases = [replace(layered.cases[0], image=broken)]
    with pytest.raises(SegscopeError, match=r"broken\.png"):
        list_series(layered, cases, protocol, 5)
