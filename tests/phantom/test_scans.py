"""Synthetic scans and clips."""

from __future__ import annotations

import numpy as np
import pytest

from segscope.phantom import clip, picture, volume


def test_volume_is_int16_with_five_organs_and_spacing():
    values, labels, spacing = volume()
    assert values.dtype == np.int16
    assert labels.dtype == np.uint8
    assert values.shape == labels.shape == (40, 128, 128)
    assert np.bincount(labels.ravel())[1:6].min() > 200
    assert len(spacing) == 3


def test_volume_takes_other_shapes():
    values, labels, _ = volume(2, (12, 64, 80))
    assert values.shape == (12, 64, 80)
    assert set(np.unique(labels)) >= {0, 1, 2, 3, 4}


def test_organs_differ_from_what_is_around_them():
    values, labels, _ = volume()
    around = values[(labels == 0) & (values > -200) & (values < 300)].mean()
    assert values[labels == 1].mean() > around + 30
    assert values[labels == 5].mean() < values[labels == 1].mean() - 30


def test_clip_moves_and_one_body_hides():
    frames, labels = clip()
    assert frames.shape == (24, 192, 256, 3)
    assert frames.dtype == np.uint8
    assert labels.shape == (24, 192, 256)
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    seen = [(frame == 3).any() for frame in labels]
    assert seen[0]
    assert seen[-1]
    assert not all(seen)
    assert all((frame == 1).any() and (frame == 2).any() for frame in labels)
    centres = [np.argwhere(frame == 1).mean(0) for frame in labels]
    assert np.ptp(centres, axis=0).max() > 10


def test_short_clips_keep_all_bodies():
    _, labels = clip(1, frames=4, size_hw=(96, 128))
    assert all(set(np.unique(frame)) == {0, 1, 2, 3} for frame in labels)


@pytest.mark.parametrize("make", [volume, clip, picture])
def test_same_seed_same_result(make):
    first, second, other = make(3), make(3), make(4)
    assert all(np.array_equal(a, b) for a, b in zip(first[:2], second[:2], strict=True))
    assert not np.array_equal(first[0], other[0])
