"""The recipe of `mini` on a data set of two images: a run that was interrupted ends as one that was
not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from segscope.phantom import picture

RECIPE = Path(__file__).parents[1] / "recipes" / "mini"
SETTINGS = """
[image]
steps = 4
seed = 3
made_up = 6
bf16 = false
sizes = [[0.0, 96, 2], [0.6, 112, 1]]
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder laid out as the development data are."""
    folder = tmp_path / "data" / "blobs"
    folder.mkdir(parents=True)
    items = []
    for number in range(2):
        rgb, labels = picture(seed=number, size_hw=(128, 128))
        Image.fromarray(rgb).save(folder / f"{number}.png")
        Image.fromarray(labels.astype(np.uint16)).save(folder / f"{number}_mask.png")
        targets = [{"path": f"{number}_mask.png", "label": "blob", "kind": "instance"}]
        items.append(
            {"id": str(number), "image": f"{number}.png", "targets": targets, "split": "train"}
        )
    (folder / "dataset.json").write_text(json.dumps({"name": "blobs", "items": items}))
    (folder.parent / "index.json").write_text(
        json.dumps({"datasets": [{"name": "blobs", "weights": True}]})
    )
    return folder.parent


def train(data: Path, out: Path, *more: str) -> dict[str, torch.Tensor]:
    (data / "settings.toml").write_text(SETTINGS)
    argv = [
        sys.executable,
        str(RECIPE / "train.py"),
        "image",
        "--settings",
        str(data / "settings.toml"),
    ]
    argv += ["--data", str(data), "--out", str(out), *more]
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return load_file(out / "mini_image.safetensors")


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_weights(data: Path, tmp_path: Path) -> None:
    whole = train(data, tmp_path / "whole")
    train(data, tmp_path / "parts", "--stop-at", "2")
    resumed = train(data, tmp_path / "parts", "--resume")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert any(
        not torch.equal(value, resumed[name])
        for name, value in train(data, tmp_path / "half", "--stop-at", "2").items()
    )
