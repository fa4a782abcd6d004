"""Faults planted in the list and the splits of a small clean data set are named, and no others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.data import data_folder
from support.dataset_files import (
    FAR,
    INSIDE,
    VOXELS,
    Items,
    disk,
    edited,
    entry,
    found_in,
    save,
    save_volume,
    scene,
)

from segscope.errors import UsageError
from segscope.io.datasets.check import check_dataset, person_of


def test_a_clean_set_gives_nothing(folder: Path) -> None:
    assert check_dataset(folder) == []
    assert check_dataset(folder, fast=True) == []


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
    leak, missing = check_dataset(folder)
    assert (leak.kind, missing.kind) == ("id-leak", "no-groups")
    assert "patient07" in leak.message
    assert "c.png" in leak.message


@pytest.mark.parametrize(
    ("identity", "person"),
    [
        ("patient012_frame01", "patient012"),
        ("person449_bacteria_1938", "person449"),
        ("sub-04_T1w", "sub-04"),
        ("case_00012_slice_3", "case_00012"),
        ("scan7_z012", "scan7"),
        ("ISIC_0000001", None),
        ("k0970", None),
        ("256x256_001", None),
        ("left", None),
    ],
)
def test_what_an_id_tells(identity: str, person: str | None) -> None:
    assert person_of(identity) == person


def test_damage_in_one_set_does_not_hide_the_others(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    above = tmp_path_factory.mktemp("sets")
    shutil.copytree(folder, above / "first")
    shutil.copytree(folder, above / "second")
    (above / "second/dataset.json").write_text("[]")
    assert [each.kind for each in check_dataset(above)] == ["list"]
    with pytest.raises(UsageError, match="no cases"):
        check_dataset(tmp_path_factory.mktemp("nothing"))
    with pytest.raises(UsageError, match="workers"):
        check_dataset(folder, workers=0)


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
    assert [each.kind for each in check_dataset(above)] == ["image-leak"] * 3


def test_nnunet(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 6)):
        for channel in ("0000", "0001"):
            save_volume(
                tmp_path / f"imagesTr/{name}_{channel}.nii.gz",
                VOXELS // 2 + np.uint8(seed + int(channel)),
            )
        save_volume(tmp_path / f"labelsTr/{name}.nii.gz", INSIDE.astype(np.uint8))
    document = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "cord": 1},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(document))
    assert [each.kind for each in check_dataset(tmp_path)] == [
        "near-duplicate"
    ]  # brightness does not hide it
    save_volume(tmp_path / "imagesTr/b_0000.nii.gz", VOXELS[::-1])
    save_volume(tmp_path / "imagesTr/a_0001.nii.gz", VOXELS, FAR)
    (tmp_path / "imagesTr/b_0001.nii.gz").unlink()
    (tmp_path / "labelsTr/b.nii.gz").unlink()
    save_volume(tmp_path / "labelsTr/c.nii.gz", INSIDE.astype(np.uint8))
    said = {each.kind: each.message for each in check_dataset(tmp_path)}
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
    findings = check_dataset(data_folder(name), fast=True)
    assert [each.kind for each in findings if each.severity == "error"] == errors
