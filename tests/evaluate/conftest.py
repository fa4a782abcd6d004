"""A small mixed data set: images, a volume and a clip, all made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image
from support.evaluation_engine import mini

from segscope.io.datasets.dataset import DataSet
from segscope.io.datasets.reading import read_datasets
from segscope.models.engine import Engine
from segscope.phantom import clip, picture, stack


@pytest.fixture(scope="session")
def engine() -> Engine:
    return mini()


def save(path: Path, array: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return str(path)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of two sets: images (3 patients), and sequences (one volume, one clip)."""
    root = tmp_path_factory.mktemp("sets")
    items = []
    for number in range(3):
        rgb, labels = picture(seed=number, size_hw=(96, 112))
        save(root / "images" / f"{number}.png", rgb)
        save(root / "images" / f"{number}_mask.png", labels.astype(np.uint16))
        target = {"path": f"{number}_mask.png", "label": "body", "kind": "instance"}
        split, modality = ("train", "CT") if number else ("test", "MRI")
        items.append(
            {
                "id": f"p{number}",
                "image": f"{number}.png",
                "targets": [target],
                "split": split,
                "group": f"g{number}",
                "item_modality": modality,
            }
        )
    _list(root / "images", "images", items)
    grey, bodies = stack(np.random.default_rng(3), (7, 64, 64))
    large = int(np.bincount(bodies[bodies > 0].ravel()).argmax())
    place = root / "sequences"
    place.mkdir()
    for name, array in {"v": grey, "v_mask": (bodies == large).astype(np.uint8)}.items():
        nibabel.save(
            nibabel.Nifti1Image(array.transpose(2, 1, 0), np.diag([1.0, 1, 3, 1])),
            place / f"{name}.nii.gz",
        )
    frames, labels = clip(seed=1, frames=5, size_hw=(64, 80))
    for at in range(5):
        save(place / "clip" / f"{at}.png", frames[at])
        save(place / "truth" / f"{at}.png", np.where(labels[at] == 1, 255, 0).astype(np.uint8))
    binary = {"label": "body", "kind": "binary"}
    _list(
        place,
        "sequences",
        [
            {
                "id": "volume",
                "image": "v.nii.gz",
                "targets": [{"path": "v_mask.nii.gz", **binary}],
                "split": "test",
            },
            {
                "id": "clip",
                "image": "clip",
                "targets": [{"path": "truth", **binary}],
                "split": "test",
            },
        ],
    )
    (root / "index.json").write_text(
        json.dumps({"datasets": [{"name": "images"}, {"name": "sequences"}]})
    )
    return root


def _list(place: Path, name: str, items: list[dict[str, Any]]) -> None:
    (place / "dataset.json").write_text(
        json.dumps({"name": name, "modality": "mixed", "items": items})
    )


@pytest.fixture(scope="session")
def sets(folder: Path) -> list[DataSet]:
    return read_datasets(folder)
