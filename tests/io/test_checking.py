"""Faults planted in a small clean data set: each is found as what it is, with its file named, and nothing else is."""

from __future__ import annotations

import io as bytes_io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from support.data import data_folder

from segscope.errors import UsageError
from segscope.io.datasets.check import check, person_of
from segscope.io.datasets.check_case import check_case
from segscope.io.datasets.dataset import Case, Target
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


def edited(folder: Path, edit: Callable[[dict[str, Any], Items], None]) -> None:
    """Change the list; gets the document and its items by id."""
    document = json.loads((folder / "dataset.json").read_text())
    edit(document, {item["id"]: item for item in document["items"]})
    (folder / "dataset.json").write_text(json.dumps(document))


def test_a_clean_set_gives_nothing(folder: Path) -> None:
    assert check(folder) == []
    assert check(folder, fast=True) == []


# --- faults of the list and of splits -------------------------------------------------------------------------------


def entry(name: str, **changes: object) -> Callable[[Path], None]:
    return lambda folder: edited(folder, lambda _, items: items[name].update(changes))


def copied(name: str, **changes: object) -> Callable[[Path], None]:
    """A second entry made of one."""
    return lambda folder: edited(
        folder,
        lambda document, items: document["items"].append({**items[name], "id": "d", **changes}),
    )


def same_pixels(old: str, new: str) -> Callable[[Path], None]:
    """Other bytes, grey as colours: the same image all the same."""

    def plant(folder: Path) -> None:
        Image.open(folder / f"images/{old}.png").convert("RGB").save(folder / f"images/{new}.png")

    return plant


def saved_again(folder: Path) -> None:
    image = Image.open(folder / "images/a.png").resize((128, 128))
    image.save(folder / "images/b.jpg", quality=70)
    save(folder / "masks/b.png", np.uint8(disk(60, 60, size=128)) * 255)
    (folder / "images/b.png").unlink()
    entry("b", image="images/b.jpg")(folder)


def one_person(folder: Path) -> None:
    def edit(_: dict[str, Any], items: Items) -> None:
        for name, identity in (("a", "patient07_frame01"), ("b", "b1"), ("c", "patient07_frame12")):
            items[name].update(id=identity, group="")

    edited(folder, edit)


LISTS: list[tuple[str, str, Callable[[Path], Any]]] = [
    ("list", "dataset.json", lambda folder: (folder / "dataset.json").write_text("{")),
    ("list", "dataset.json", entry("b", split="later")),
    ("same-id", "c.png", entry("c", id="a")),
    ("listed-twice", "b.png", copied("b")),
    ("missing", "b.png", lambda folder: (folder / "masks/b.png").unlink()),
    ("unlisted", "left.png", lambda folder: save(folder / "images/left.png", scene(9))),
    ("group-leak", "c.png", entry("c", group="patient a")),
    ("image-leak", "c.png", same_pixels("a", "c")),
    ("duplicate", "b.png", same_pixels("a", "b")),
    ("near-duplicate", "b.jpg", saved_again),
]


def found_in(folder: Path, kind: str, file: str) -> None:
    findings = check(folder)
    assert {each.kind for each in findings} == {kind}, findings
    assert all(
        each.severity == BY_KIND[kind].severity and each.remedy and each.why for each in findings
    )
    assert any(file in each.message for each in findings), findings


@pytest.mark.parametrize(
    ("kind", "file", "plant"), LISTS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_fault_of_the_list(
    kind: str, file: str, plant: Callable[[Path], Any], folder: Path
) -> None:
    plant(folder)
    found_in(folder, kind, file)


def test_ids_tell_what_groups_do_not(folder: Path) -> None:
    one_person(folder)
    leak, missing = check(folder)
    assert (leak.kind, missing.kind) == ("id-leak", "no-groups")
    assert "patient07" in leak.message
    assert "c.png" in leak.message


@pytest.mark.parametrize(
    ("identity", "person"),
    [("patient012_frame01", "patient012"), ("person449_bacteria_1938", "person449"), ("sub-04_T1w", "sub-04"),
     ("case_00012_slice_3", "case_00012"), ("scan7_z012", "scan7"), ("ISIC_0000001", None), ("k0970", None),
     ("256x256_001", None), ("left", None)],
)  # fmt: skip
def test_what_an_id_tells(identity: str, person: str | None) -> None:
    assert person_of(identity) == person


def test_damage_in_one_set_does_not_hide_the_others(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    above = tmp_path_factory.mktemp("sets")
    shutil.copytree(folder, above / "first")
    shutil.copytree(folder, above / "second")
    (above / "second/dataset.json").write_text("[]")
    assert [each.kind for each in check(above)] == ["list"]
    with pytest.raises(UsageError, match="no cases"):
        check(tmp_path_factory.mktemp("nothing"))
    with pytest.raises(UsageError, match="workers"):
        check(folder, workers=0)


def test_sets_are_compared_with_each_other(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    above = tmp_path_factory.mktemp("sets")
    for name in ("first", "second"):
        shutil.copytree(folder, above / name)
    edited(
        above / "second",
        lambda document, items: [item.update(split="test") for item in items.values()],
    )
    assert [each.kind for each in check(above)] == ["image-leak"] * 3


# --- faults of images and their masks -----------------------------------------------------------------------------


def image(pixels: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: save(folder / "images/b.png", pixels)


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
def test_a_fault_of_a_image(
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
    case = Case("a", tmp_path / "image.png", (Target(tmp_path / "mask.png", "x", "binary"),))
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
    case = Case("a", tmp_path / "image.png", (Target(tmp_path / "mask.png", "x", "instance"),))
    assert "interpolated" not in {each.kind for each in check_case(case).faults}


# --- faults of volumes and videos -----------------------------------------------------------------------------------

VOXELS = np.stack([scene(seed) for seed in range(20, 26)])
INSIDE = np.stack([np.zeros((64, 64), bool), *[disk()] * 4, np.zeros((64, 64), bool)])


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
    assert check(folder, workers=2) == []


def test_a_volume_without_spacing(folder: Path) -> None:
    volume()(folder)
    np.save(folder / "images/v.npy", VOXELS)
    np.save(folder / "masks/v.npy", INSIDE.astype(np.uint8))
    for file in ("images/v.nii.gz", "masks/v.nii.gz"):
        (folder / file).unlink()
    entry("b", image="images/v.npy", targets=[{"path": "masks/v.npy", "label": "liver"}])(folder)
    found_in(folder, "spacing", "v.npy")
    entry("b", spacing_mm=[1.5, 1, 1])(folder)
    assert check(folder) == []


def test_objects_of_volumes_are_judged_in_three_dimensions(folder: Path) -> None:
    """A bow whose ends lie apart on single slices is one piece; two balls of one number are not."""
    bow = np.zeros((12, 64, 64), np.uint8)
    bow[2:10, 30:34, 10:14] = bow[2:10, 30:34, 50:54] = bow[8:10, 30:34, 10:54] = 1
    apart = bow.copy()
    apart[8:10, 30:34, 14:50] = 0
    voxels = np.concatenate([VOXELS, VOXELS + 1])
    volume(voxels, bow)(folder)
    edited(folder, lambda _, items: items["b"]["targets"][0].update(kind="instance"))
    assert check(folder) == []
    save_volume(folder / "masks/v.nii.gz", apart)
    found_in(folder, "broken-instance", "v.nii.gz")
    assert check(folder, fast=True) == []


def test_nnunet(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 6)):
        for channel in ("0000", "0001"):
            save_volume(
                tmp_path / f"imagesTr/{name}_{channel}.nii.gz",
                VOXELS // 2 + np.uint8(seed + int(channel)),
            )
        save_volume(tmp_path / f"labelsTr/{name}.nii.gz", INSIDE.astype(np.uint8))
    document = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "cord": 1}, "numTraining": 2,
                "file_ending": ".nii.gz"}  # fmt: skip
    (tmp_path / "dataset.json").write_text(json.dumps(document))
    assert [each.kind for each in check(tmp_path)] == [
        "near-duplicate"
    ]  # brightness does not hide it
    save_volume(tmp_path / "imagesTr/b_0000.nii.gz", VOXELS[::-1])
    save_volume(tmp_path / "imagesTr/a_0001.nii.gz", VOXELS, FAR)
    (tmp_path / "imagesTr/b_0001.nii.gz").unlink()
    (tmp_path / "labelsTr/b.nii.gz").unlink()
    save_volume(tmp_path / "labelsTr/c.nii.gz", INSIDE.astype(np.uint8))
    said = {each.kind: each.message for each in check(tmp_path)}
    assert set(said) == {"channels", "unpaired", "grid", "unlisted"}
    assert "b_0000" in said["channels"]
    assert "b_0000" in said["unpaired"]
    assert "a_0001" in said["grid"]
    assert "c.nii.gz" in said["unlisted"]


@pytest.mark.parametrize(
    ("name", "errors"),
    [
        ("mri_spine_sct", ["group-leak"]),
        ("video_known_motion", []),
        ("medscribble_dev", []),
        ("dicom_ct_liver", []),
    ],
)
def test_real_sets(name: str, errors: list[str]) -> None:
    findings = check(data_folder(name), fast=True)
    assert [each.kind for each in findings if each.severity == "error"] == errors
