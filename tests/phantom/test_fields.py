"""Smooth random fields."""

from __future__ import annotations

import numpy as np
import pytest

from segscope.phantom.fields import smooth, warp


@pytest.mark.parametrize("shape", [(40,), (30, 50), (8, 20, 30)])
def test_smooth_is_standardised(shape):
    field = smooth(np.random.default_rng(0), shape, 5)
    assert field.shape == shape
    assert field.dtype == np.float32
    assert abs(field.mean()) < 1e-4
    assert abs(field.std() - 1) < 1e-3


def test_warp_keeps_labels():
    labels = np.zeros((2, 64, 64), np.uint16)
    labels[:, 20:40, 20:40] = 7
    bent = warp(labels, np.random.default_rng(0), 4, 3.0)
    assert bent.shape == labels.shape
    assert set(np.unique(bent)) == {0, 7}
    assert 200 < (bent[0] == 7).sum() < 700
