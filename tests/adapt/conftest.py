"""Eight images of ellipses, a volume of them, and small random bases as files."""

from __future__ import annotations

import gc
import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.adaptation import ellipse

from segscope.adapt.data.training_set import CaseSelection, Data, gather
from segscope.io.datasets.dataset import DataSet
from segscope.io.datasets.reading import read_dataset


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # what was imported is not looked through by `clean`


@pytest.fixture(autouse=True)
def clean(tests: Iterator[int]) -> Iterator[None]:
    """Networks whose layers were given other functions hold on to themselves until they are
    collected.
    """
    yield
    if next(tests) % 8 == 0:
        gc.collect()


@pytest.fixture(scope="session")
def tests() -> Iterator[int]:
    return itertools.count()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images to train on and two to validate on; every second one also holds a small bright
    spot.
    """
    place = tmp_path_factory.mktemp("ellipses")
    items = []
    for number in range(10):
        rgb, labels = ellipse(np.random.default_rng(number), spot=number % 2 == 0)
        Image.fromarray(rgb).save(place / f"{number}.png")
        Image.fromarray(labels).save(place / f"{number}_mask.png")
        target = {"path": f"{number}_mask.png", "kind": "semantic"}
        items.append(
            {
                "id": f"p{number}",
                "image": f"{number}.png",
                "targets": [target],
                "group": f"g{number // 2}",
                "split": "val" if number > 7 else "train",
            }
        )
    listing: dict[str, Any] = {
        "name": "ellipses",
        "labels": {"1": "large body", "2": "bright spot"},
        "items": items,
    }
    listing["license"] = "CC0"
    (place / "dataset.json").write_text(json.dumps(listing))
    return place


@pytest.fixture(scope="session")
def images(folder: Path) -> DataSet:
    return read_dataset(folder)


@pytest.fixture(scope="session")
def data(images: DataSet) -> Data:
    """The bodies of eight images to train on, and of two of these to validate on; all of them
    without truth too.
    """
    found = gather([images], CaseSelection(labels=("large body",)), 256, empty=True)
    bare = tuple(replace(item, objects=(), labelled=False) for item in found.train.items)
    val, unlabelled = (
        replace(found.train, items=found.train.items[:2]),
        replace(found.train, items=bare),
    )
    return replace(found, val=val, unlabelled=unlabelled)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Four volumes of six slices with an ellipse that grows; each is a patient."""
    place = tmp_path_factory.mktemp("volumes")
    items = []
    for number in range(4):
        scan, truth = [], []
        for slice_ in range(6):
            rgb, labels = ellipse(np.random.default_rng(number), side=64 + 2 * slice_)
            scan.append(rgb[:64, :64, 0])
            truth.append(labels[:64, :64])
        np.savez(
            place / f"{number}.npz",
            imgs=np.stack(scan),
            gts=np.stack(truth),
            spacing=np.array([1.0, 1.0, 2.0]),
        )
        items.append(number)
    return gather([read_dataset(place)], CaseSelection(), 256)
