"""Augmentation: labels follow the image."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.adaptation import ellipse

from segscope.adapt.data import augment


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 1.0))
def test_labels_move_with_the_image(seed: int, strength: float) -> None:
    rgb, labels = ellipse(np.random.default_rng(seed), side=64)
    change = augment.draw(np.random.default_rng(seed), strength)
    bright = np.repeat((labels * 200).astype(np.uint8)[None, ..., None], 3, -1)
    moved, planes = change.move(bright, labels.astype(np.uint16)[None, None])
    differs = (moved[0, ..., 0] > 100) != (planes[0, 0] == 1)
    assert differs.mean() < 0.03  # interpolation and nearest neighbours part at the edge only
    shaded = change.shade(rgb[None])
    assert shaded.dtype == np.uint8
    assert shaded.shape == rgb[None].shape


def test_no_strength_changes_nothing() -> None:
    rgb, labels = ellipse(np.random.default_rng(0))
    change = augment.draw(np.random.default_rng(0), 0.0)
    moved, planes = change.move(rgb[None], labels.astype(np.uint16)[None, None])
    assert np.array_equal(change.shade(moved)[0], rgb)
    assert np.array_equal(planes[0, 0], labels)
