"""Thinning, and lines through thin pixels."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from segscope.simulate.skeleton import REMOVABLE, RING, lines, thin

FULL = np.ones((3, 3))


def blob(seed: int, shape: tuple[int, int], share: float, sigma: float) -> np.ndarray:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), sigma)
    return field > np.quantile(field, share)


def parts_and_holes(mask: np.ndarray) -> tuple[int, int]:
    return ndimage.label(mask, FULL)[1], ndimage.label(np.pad(~mask, 1, constant_values=True))[1]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.floats(0, 0.95),
    st.floats(0, 3),
)
def test_a_skeleton_keeps_parts_and_holes_and_cannot_be_thinned(
    seed: int, shape: tuple[int, int], share: float, sigma: float
) -> None:
    mask = blob(seed, shape, share, sigma)
    bone = thin(mask)
    assert (bone <= mask).all()
    assert parts_and_holes(bone) == parts_and_holes(mask)
    padded = np.pad(bone, 1)
    for y, x in np.argwhere(padded):
        code = sum(int(padded[y + dy, x + dx]) << bit for bit, (dy, dx) in enumerate(RING))
        assert not REMOVABLE[code]


def test_the_skeleton_of_a_bar_runs_along_its_middle() -> None:
    mask = np.zeros((21, 60), bool)
    mask[6:15, 5:55] = True
    rows, columns = np.nonzero(thin(mask))
    assert abs(np.median(rows) - 10) <= 1
    assert columns.min() < 12
    assert columns.max() > 47


def test_the_skeleton_of_a_square_is_not_nothing() -> None:
    for side in (1, 2, 3, 4):
        assert thin(np.ones((side, side), bool)).sum() >= 1
    assert not thin(np.zeros((3, 3), bool)).any()


def test_lines_follow_touching_pixels_once() -> None:
    bone = thin(blob(4, (80, 80), 0.5, 4))
    found = lines(bone, 4)
    assert [len(one) for one in found] == sorted((len(one) for one in found), reverse=True)
    places = [tuple(place) for one in found for place in one]
    assert len(places) == len(set(places))
    for one in found:
        assert bone[tuple(one.T)].all()
        assert np.abs(np.diff(one, axis=0)).max() == 1
