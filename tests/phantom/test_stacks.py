"""Volumes of synthetic bodies."""

from __future__ import annotations

import numpy as np
import pytest

from segscope.phantom import stack, stacks


@pytest.mark.parametrize("family", [family for family, _ in stacks.FAMILIES])
def test_bodies_of_a_stack_go_on_from_slice_to_slice(family):
    labels = family(np.random.default_rng(2), (12, 64, 80))
    assert labels.shape == (12, 64, 80)
    assert labels.dtype == np.uint16
    found = [value for value in np.unique(labels) if value]
    assert found
    for value in found:
        held = np.flatnonzero((labels == value).any((1, 2)))
        assert (
            len(held) == held[-1] - held[0] + 1 or family is stacks.bodies
        )  # one body may cover another for a while


def test_stacks_are_grey_seeded_and_show_their_bodies():
    values, labels = stack(np.random.default_rng(5), (8, 64, 64))
    again = stack(np.random.default_rng(5), (8, 64, 64))
    assert values.dtype == np.uint8
    assert np.array_equal(values, again[0])
    assert np.array_equal(labels, again[1])
    contrasts = []
    for seed in range(12):
        values, labels = stack(np.random.default_rng(seed), (8, 96, 96))
        inside = labels == np.bincount(labels[labels > 0]).argmax()
        contrasts.append(abs(float(values[inside].mean()) - float(values[labels == 0].mean())))
    assert np.median(contrasts) > 15
