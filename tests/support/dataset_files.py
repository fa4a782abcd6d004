"""Small data sets, and ways to damage them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image
from scipy import ndimage

from segscope.io.datasets.check import check_dataset
from segscope.io.datasets.faults import BY_KIND

Items = dict[str, dict[str, Any]]


FAR, NEAR = np.diag([0.5, 0.5, 1.0, 1.0]), np.diag([1.0, 1.0, 1.5, 1.0])


FAR[:3, 3], NEAR[:3, 3] = (-30, 20, 5), (-30, 20, 5)


def scene(seed: int, size: int = 64) -> np.ndarray:
    """A smooth grey image."""
    noise = np.random.default_rng(seed).normal(size=(size, size))
    smooth = ndimage.gaussian_filter(noise, 4)
    return np.uint8(np.clip(128 + 60 * smooth / smooth.std(), 1, 254))


def disk(y: float = 32, x: float = 32, radius: float = 12, size: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return np.hypot(rows - y, columns - x) < radius


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def save_volume(path: Path, voxels: np.ndarray, affine: np.ndarray = NEAR) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(np.ascontiguousarray(voxels.T), affine).to_filename(path)


def edited(folder: Path, edit: Callable[[dict[str, Any], Items], None]) -> None:
    """Change the list; gets the document and its items by id."""
    document = json.loads((folder / "dataset.json").read_text())
    edit(document, {item["id"]: item for item in document["items"]})
    (folder / "dataset.json").write_text(json.dumps(document))


def entry(name: str, **changes: object) -> Callable[[Path], None]:
    return lambda folder: edited(folder, lambda _, items: items[name].update(changes))


def found_in(folder: Path, kind: str, file: str) -> None:
    findings = check_dataset(folder)
    assert {each.kind for each in findings} == {kind}, findings
    assert all(
        each.severity == BY_KIND[kind].severity and each.remedy and each.why for each in findings
    )
    assert any(file in each.message for each in findings), findings


def image(pixels: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: save(folder / "images/b.png", pixels)


VOXELS = np.stack([scene(seed) for seed in range(20, 26)])


INSIDE = np.stack([np.zeros((64, 64), bool), *[disk()] * 4, np.zeros((64, 64), bool)])
