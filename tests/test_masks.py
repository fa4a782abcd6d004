"""Masks: run lengths, labels, objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from support.inputs import masks_2d

from segscope.errors import UsageError
from segscope.masks import Masks, decode_runs, encode_runs


@given(masks_2d)
def test_run_lengths_give_the_mask_back(mask: NDArray[np.bool_]) -> None:
    runs = encode_runs(mask)
    assert np.array_equal(decode_runs(runs, mask.shape), mask)
    assert runs.sum() == mask.size
    assert runs[1::2].sum() == mask.sum()


@settings(deadline=None)
@given(
    hnp.arrays(
        np.uint16, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6), elements=st.integers(0, 5)
    )
)
def test_labels_give_the_labels_back(labels: NDArray[np.uint16]) -> None:
    masks = Masks.from_labels(labels)
    assert np.array_equal(masks.labels, labels)
    assert set(masks.object_ids) == set(np.unique(labels[labels > 0]).tolist())
    for object_id in masks.object_ids:
        assert np.array_equal(masks.of(object_id), labels == object_id)
        assert (
            sum(masks.area(frame, object_id) for frame in range(len(labels)))
            == (labels == object_id).sum()
        )


@pytest.mark.parametrize(
    "labels",
    [
        np.full((2, 2), -1),
        np.full((2, 2), 0.5),
        np.full((2, 2), np.nan),
        np.full((2, 2), 2**32),
        np.zeros((2, 2, 2, 2)),
        np.zeros(3),
    ],
)
def test_arrays_that_are_no_labels_are_refused(labels: NDArray[Any]) -> None:
    with pytest.raises(UsageError):
        Masks.from_labels(labels)


def test_where_masks_overlap_the_highest_id_shows() -> None:
    first, second = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    first[:3], second[2:] = True, True
    masks = Masks(
        (1, 4, 4), {(0, 1): encode_runs(first), (0, 2): encode_runs(second)}, {1: "a", 2: "b"}
    )
    assert masks.frame_labels(0)[:, 0].tolist() == [1, 1, 2, 2]
    assert masks.mask(0, 1).sum() == 12


def test_an_object_may_be_empty_everywhere() -> None:
    masks = Masks((2, 3, 3), {}, {4: "nothing"})
    assert masks.object_ids == (4,)
    assert not masks.of(4).any()
    assert not masks.labels.any()


def test_unnamed_and_unknown_objects_are_refused() -> None:
    with pytest.raises(UsageError, match="names"):
        Masks((1, 2, 2), {(0, 3): encode_runs(np.ones((2, 2), bool))}, {})
    with pytest.raises(UsageError, match="no object 9"):
        Masks((1, 2, 2), {}, {1: ""}).of(9)


def test_overlaps_are_found_by_frame() -> None:
    one = np.array([[True, True, False]])
    other = np.array([[False, True, True]])
    apart = np.array([[False, False, True]])
    runs = {
        (0, 1): encode_runs(one),
        (0, 2): encode_runs(other),
        (1, 1): encode_runs(one),
        (1, 2): encode_runs(apart),
    }
    masks = Masks((2, 1, 3), runs, {1: "", 2: ""})
    assert masks.overlaps_on(0)
    assert not masks.overlaps_on(1)
