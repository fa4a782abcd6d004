"""Parts of masks as they travel."""

from __future__ import annotations

import numpy as np
import pytest

from segscope.client import MaskUpdate, pack_mask, unpack_mask


def test_a_mask_comes_back_as_it_was_packed() -> None:
    mask = np.random.default_rng(0).random((7, 9)) > 0.5
    values = {"frame": 2, "object_id": 3, "bbox": [4, 5, 13, 12], "encoding": "bits", "area": 9}
    update = MaskUpdate.from_json({**values, "data": pack_mask(mask)})
    assert np.array_equal(update.pixels, mask)
    canvas = np.zeros((20, 20), bool)
    update.apply_to(canvas)
    assert np.array_equal(canvas[5:12, 4:13], mask)
    assert canvas.sum() == mask.sum()


def test_an_update_without_a_box_changes_nothing() -> None:
    update = MaskUpdate.from_packet(
        {"frame": 0, "object_id": 1, "bbox": None, "encoding": "bits", "area": 0}, b""
    )
    canvas = np.ones((3, 3), bool)
    update.apply_to(canvas)
    assert canvas.all()


@pytest.mark.parametrize(("runs", "expected"), [([0, 2, 4], [1, 1, 0, 0, 0, 0]), ([6], [0] * 6)])
def test_run_lengths_begin_with_background(runs: list[int], expected: list[int]) -> None:
    data = np.array(runs, "<u4").tobytes()
    assert unpack_mask(data, (2, 3), "rle").ravel().astype(int).tolist() == expected
