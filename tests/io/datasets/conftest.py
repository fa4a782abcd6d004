"""Fixtures that several tests of this folder use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.dataset_files import disk, save, scene


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images with one binary mask each, two of them to train on, and a list of them."""
    for seed, name in enumerate("abc"):
        save(tmp_path / f"images/{name}.png", scene(seed))
        save(tmp_path / f"masks/{name}.png", np.uint8(disk(20 + 10 * seed)) * 255)
    items = [
        {"id": name, "image": f"images/{name}.png", "split": split, "group": f"patient {name}",
         "targets": [{"path": f"masks/{name}.png", "label": "lesion", "kind": "binary"}]}
        for name, split in (("a", "train"), ("b", "train"), ("c", "val"))
    ]  # fmt: skip
    (tmp_path / "dataset.json").write_text(
        json.dumps({"name": "small", "modality": "US", "items": items})
    )
    return tmp_path
