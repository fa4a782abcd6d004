"""Fingerprints of images: equal for equal pixels, near for the same scene saved again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.dataset_files import scene

from segscope.io.datasets.check_image import (
    Fingerprint,
    check_intensities,
    check_spacing,
    describe_size,
)
from segscope.io.datasets.dataset import Case
from segscope.io.datasets.faults import DatasetFault
from segscope.stack import Stack

FILE = Path("a.png")


def fingerprint(array: np.ndarray, *, fast: bool = False) -> tuple[Fingerprint, list[str]]:
    faults: list[DatasetFault] = []
    result = check_intensities("set: a", FILE, Stack.from_array(array), faults, fast=fast)
    return result, [fault.kind for fault in faults]


def bits_between(first: np.ndarray, second: np.ndarray) -> int:
    one = fingerprint(first)[0].image_hash
    other = fingerprint(second)[0].image_hash
    assert one is not None
    assert other is not None
    return int(np.bitwise_count(one ^ other).sum())


def test_grey_saved_as_colour_is_the_same_image() -> None:
    grey = scene(1)
    assert fingerprint(grey)[0].digest == fingerprint(np.stack([grey] * 3, axis=-1))[0].digest
    assert fingerprint(grey)[0].digest != fingerprint(scene(2))[0].digest


def test_a_smaller_copy_is_near_and_another_scene_is_far() -> None:
    small = np.asarray(Image.fromarray(scene(1, 128)).resize((64, 64)))
    assert bits_between(scene(1, 128), small) <= 12
    assert bits_between(scene(1), scene(2)) > 12


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_constant_image_has_no_fingerprint(value: float) -> None:
    result, kinds = fingerprint(np.full((30, 30), value, np.float32))
    assert result == Fingerprint()
    assert kinds == ["constant"]


def test_values_that_are_not_numbers_are_counted_and_left_out() -> None:
    pixels = scene(1).astype(np.float32)
    pixels[0, :3] = np.nan
    faults: list[DatasetFault] = []
    check_intensities("set: a", FILE, Stack.from_array(pixels), faults, fast=False)
    assert [fault.kind for fault in faults] == ["non-finite"]
    assert "3 values" in faults[0].message
    assert fingerprint(np.full((30, 30), np.nan, np.float32))[1] == ["non-finite", "constant"]


def test_fast_reads_three_frames() -> None:
    volume = np.stack([scene(seed) for seed in range(7)])
    changed = volume.copy()
    changed[2] = 0
    assert fingerprint(volume, fast=True)[0].digest == fingerprint(changed, fast=True)[0].digest
    assert fingerprint(volume)[0].digest != fingerprint(changed)[0].digest


def test_small_images_have_no_hash() -> None:
    assert fingerprint(scene(1, 16))[0].image_hash is None


@pytest.mark.parametrize(
    ("spacing", "kinds"),
    [
        (None, ["spacing"]),
        ((1.0, 1.0, 1.0), ["spacing"]),
        ((2.0, 60.0, 0.5), ["spacing"]),
        ((5.0, 0.5, 0.5), ["anisotropic"]),
        ((1.5, 0.5, 0.5), []),
    ],
)
def test_spacing(spacing: tuple[float, float, float] | None, kinds: list[str]) -> None:
    stack = Stack.from_array(np.zeros((4, 20, 20)), spacing_zyx_mm=spacing)
    assert [fault.kind for fault in check_spacing("a", Case("a", FILE), stack)] == kinds


def test_sizes_in_words() -> None:
    stack = Stack.from_array(np.zeros((4, 20, 30)), spacing_zyx_mm=(2.5, 0.5, 0.25))
    text = "4 x 20 x 30 pixels of 2.5 x 0.5 x 0.25 mm (frame x row x column)"
    assert describe_size(stack) == text
