"""Faults planted in images and masks are named, and no others."""

from __future__ import annotations

import io as bytes_io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from support.dataset_files import (
    FAR,
    INSIDE,
    NEAR,
    VOXELS,
    Items,
    disk,
    edited,
    entry,
    found_in,
    image,
    save,
    save_volume,
    scene,
)

from segscope.io.datasets.check import check_dataset
from segscope.io.datasets.check_case import check_case
from segscope.io.datasets.dataset import Case, GroundTruth


def mask(pixels: np.ndarray, kind: str = "binary", labels: object = None) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        save(folder / "masks/b.png", pixels)

        def edit(document: dict[str, Any], items: Items) -> None:
            items["b"]["targets"][0]["kind"] = kind
            document["labels"] = labels or {}

        edited(folder, edit)

    return plant


def jpeg(folder: Path) -> None:
    Image.open(folder / "masks/b.png").save(folder / "masks/b.jpg")
    (folder / "masks/b.png").unlink()
    entry("b", targets=[{"path": "masks/b.jpg", "label": "lesion"}])(folder)


SPLIT = (
    np.uint8(disk(10, 10, 5)) * 3 + np.uint8(disk(50, 50, 5)) * 3 + np.uint8(disk(10, 50, 5)) * 2
)


PICTURES: list[tuple[str, str, Callable[[Path], Any]]] = [
    ("unreadable", "b.png", lambda folder: (folder / "images/b.png").write_bytes(b"\x89PNG\r\n")),
    ("unreadable", "b.png", lambda folder: (folder / "masks/b.png").write_bytes(b"\x89PNG\r\n")),
    ("constant", "b.png", image(np.full((64, 64), 7, np.uint8))),
    ("grid", "b.png", mask(np.uint8(disk(size=60)) * 255)),
    ("colours", "b.png", mask(np.stack([disk(20), disk(40), disk(0)], 2).astype(np.uint8) * 255)),
    ("interpolated", "b.jpg", jpeg),
    ("mixed-values", "b.png", mask(np.uint8(disk()))),
    ("several-values", "b.png", mask(np.uint8(disk(20)) * 128 + np.uint8(disk(50)) * 127)),
    (
        "undeclared",
        "b.png",
        mask(np.uint8(disk()) * 4 + np.uint8(disk(0)), "semantic", {"1": "cup"}),
    ),
    ("absent-label", "dataset.json", mask(np.uint8(disk()), "semantic", {"1": "cup", "2": "disc"})),
    ("empty-mask", "b.png", mask(np.zeros((64, 64), np.uint8))),
    ("inverted", "b.png", mask(np.uint8(~disk(radius=5)) * 255)),
    ("small", "b.png", mask(np.uint8(disk(radius=1.5)) * 255)),
    ("small", "b.png", mask(np.uint8(disk()) * 2 + np.uint8(disk(2, 2, 1)), "instance")),
    ("broken-instance", "b.png", mask(SPLIT, "instance")),
]


@pytest.mark.parametrize(
    ("kind", "file", "plant"), PICTURES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_fault_of_an_image(
    kind: str, file: str, plant: Callable[[Path], Any], folder: Path
) -> None:
    plant(folder)
    found_in(folder, kind, file)


@pytest.mark.parametrize("way", ["smooth", "jpeg", "resized"])
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.floats(20, 44), st.floats(20, 44), st.floats(8, 18))
def test_soft_edges_are_found_whatever_made_them(
    way: str, tmp_path: Path, y: float, x: float, radius: float
) -> None:
    sharp = np.uint8(disk(y, x, radius)) * 255
    if way == "smooth":
        soft = np.uint8(ndimage.gaussian_filter(sharp.astype(float), 1.0))
    elif way == "jpeg":
        buffer = bytes_io.BytesIO()
        Image.fromarray(sharp).save(buffer, "JPEG", quality=80)
        soft = np.array(Image.open(buffer))
    else:
        soft = np.array(Image.fromarray(sharp).resize((96, 96), Image.Resampling.BICUBIC))
    save(tmp_path / "image.png", scene(1, len(soft)))
    save(tmp_path / "mask.png", soft)
    case = Case("a", tmp_path / "image.png", (GroundTruth(tmp_path / "mask.png", "x", "binary"),))
    assert [each.kind for each in check_case(case).faults] == ["interpolated"]


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(*[st.integers(0, 54)] * 2, st.integers(4, 10)), min_size=1, max_size=40))
def test_many_objects_are_no_soft_edges(tmp_path: Path, boxes: list[tuple[int, int, int]]) -> None:
    labels = np.zeros((64, 64), np.uint16)
    for number, (y, x, side) in enumerate(boxes, 1):
        labels[y : y + side, x : x + side] = number
    save(tmp_path / "image.png", scene(1))
    save(tmp_path / "mask.png", labels)
    case = Case("a", tmp_path / "image.png", (GroundTruth(tmp_path / "mask.png", "x", "instance"),))
    assert "interpolated" not in {each.kind for each in check_case(case).faults}


def volume(
    voxels: np.ndarray = VOXELS,
    labels: np.ndarray | None = None,
    affine: np.ndarray = NEAR,
    mask_affine: np.ndarray | None = None,
) -> Callable[[Path], None]:
    """Case b as a volume."""

    def plant(folder: Path) -> None:
        save_volume(folder / "images/v.nii.gz", voxels, affine)
        inside = INSIDE.astype(np.uint8) if labels is None else labels
        save_volume(
            folder / "masks/v.nii.gz", inside, affine if mask_affine is None else mask_affine
        )
        for file in ("images/b.png", "masks/b.png"):
            (folder / file).unlink()
        entry("b", image="images/v.nii.gz", targets=[{"path": "masks/v.nii.gz", "label": "liver"}])(
            folder
        )

    return plant


def flipped(affine: np.ndarray) -> np.ndarray:
    """Of the voxels stored from the other end of x."""
    found = affine.copy()
    found[:3, 3] += affine[:3, 0] * 63
    found[:3, 0] *= -1
    return found


def clip(masks: int) -> Callable[[Path], None]:
    """Case b as a folder of six frames."""

    def plant(folder: Path) -> None:
        for index in range(6):
            save(folder / f"clips/b/{index:03d}.png", VOXELS[index])
        for index in range(masks):
            save(folder / f"truths/b/{index:03d}.png", np.uint8(disk()) * 255)
        for file in ("images/b.png", "masks/b.png"):
            (folder / file).unlink()
        entry("b", image="clips/b", targets=[{"path": "truths/b", "label": "tool"}])(folder)

    return plant


NOT_FINITE = VOXELS.astype(np.float32)


NOT_FINITE[3, 4, 5] = np.nan


SHIFTED = NEAR + np.array([[0, 0, 0, 0.4], [0] * 4, [0] * 4, [0] * 4])


STACKS: list[tuple[str, str, Callable[[Path], Any]]] = [
    ("non-finite", "v.nii.gz", volume(NOT_FINITE)),
    ("spacing", "v.nii.gz", volume(affine=np.eye(4))),
    ("spacing", "v.nii.gz", volume(affine=np.diag([60.0, 60.0, 60.0, 1.0]))),
    ("anisotropic", "v.nii.gz", volume(affine=np.diag([1.0, 1.0, 5.0, 1.0]))),
    ("grid", "v.nii.gz", volume(mask_affine=FAR)),
    ("grid", "v.nii.gz", volume(mask_affine=SHIFTED)),
    ("grid", "v.nii.gz", volume(labels=INSIDE[:, :60].astype(np.uint8), mask_affine=FAR)),
    (
        "regridded",
        "v.nii.gz",
        volume(labels=INSIDE[..., ::-1].astype(np.uint8), mask_affine=flipped(NEAR)),
    ),
    ("fractional", "v.nii.gz", volume(labels=INSIDE * np.float32(0.5))),
    ("fractional", "v.nii.gz", volume(labels=INSIDE * np.int16(-1))),
    ("empty-mask", "v.nii.gz", volume(labels=np.zeros(INSIDE.shape, np.uint8))),
    ("frames", "truths/b", clip(5)),
    (
        "unreadable",
        "truths/b",
        lambda folder: (clip(1)(folder), (folder / "truths/b/000.png").unlink()),
    ),
]


@pytest.mark.parametrize(
    ("kind", "file", "plant"), STACKS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_fault_of_a_stack(
    kind: str, file: str, plant: Callable[[Path], Any], folder: Path
) -> None:
    plant(folder)
    found_in(folder, kind, file)


@pytest.mark.parametrize("plant", [volume(), clip(6)], ids=["volume", "clip"])
def test_clean_stacks_give_nothing(plant: Callable[[Path], Any], folder: Path) -> None:
    plant(folder)
    assert check_dataset(folder, workers=2) == []


def test_a_volume_without_spacing(folder: Path) -> None:
    volume()(folder)
    np.save(folder / "images/v.npy", VOXELS)
    np.save(folder / "masks/v.npy", INSIDE.astype(np.uint8))
    for file in ("images/v.nii.gz", "masks/v.nii.gz"):
        (folder / file).unlink()
    entry("b", image="images/v.npy", targets=[{"path": "masks/v.npy", "label": "liver"}])(folder)
    found_in(folder, "spacing", "v.npy")
    entry("b", spacing_mm=[1.5, 1, 1])(folder)
    assert check_dataset(folder) == []


def test_objects_of_volumes_are_judged_in_three_dimensions(folder: Path) -> None:
    """A bow whose ends lie apart on single slices is one piece; two balls of one number are not."""
    bow = np.zeros((12, 64, 64), np.uint8)
    bow[2:10, 30:34, 10:14] = bow[2:10, 30:34, 50:54] = bow[8:10, 30:34, 10:54] = 1
    apart = bow.copy()
    apart[8:10, 30:34, 14:50] = 0
    voxels = np.concatenate([VOXELS, VOXELS + 1])
    volume(voxels, bow)(folder)
    edited(folder, lambda _, items: items["b"]["targets"][0].update(kind="instance"))
    assert check_dataset(folder) == []
    save_volume(folder / "masks/v.nii.gz", apart)
    found_in(folder, "broken-instance", "v.nii.gz")
    assert check_dataset(folder, fast=True) == []
