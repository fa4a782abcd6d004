"""What holds for any two masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segscope.metrics import score

SYMMETRIC = ("dice", "iou", "hd", "hd95", "assd", "nsd@1", "boundary_iou", "j", "f", "j&f")
DISTANCES = ("hd", "hd95", "assd")
shapes = st.one_of(st.tuples(*[st.integers(2, 9)] * 2), st.tuples(*[st.integers(2, 6)] * 3))
spacings = st.tuples(*[st.floats(0.3, 5)] * 3)
quick = settings(max_examples=40, deadline=None)


@st.composite
def pairs(draw):
    shape = draw(shapes)
    found, truth = (draw(arrays.arrays(bool, shape)) for _ in range(2))
    assume(found.any() and truth.any())
    return found, truth


def _values(found, truth, spacing, metrics=SYMMETRIC):
    return score(found, truth, spacing[-found.ndim :], metrics=metrics).values


@quick
@given(pairs(), spacings)
def test_found_and_truth_may_change_places(pair, spacing):
    assert _values(*pair, spacing) == pytest.approx(_values(*pair[::-1], spacing))


@quick
@given(pairs(), spacings)
def test_values_keep_their_order(pair, spacing):
    values = _values(*pair, spacing)
    assert 0 <= values["iou"] <= values["dice"] <= 1
    assert values["assd"] <= values["hd"]
    assert values["hd95"] <= values["hd"]
    assert 0 <= values["nsd@1"] <= _values(*pair, spacing, ("nsd@2",))["nsd@2"] <= 1


@quick
@given(pairs(), spacings, st.floats(0.2, 7))
def test_distances_grow_with_spacing(pair, spacing, factor):
    wide = tuple(step * factor for step in spacing)
    small, large = _values(*pair, spacing, DISTANCES), _values(*pair, wide, DISTANCES)
    assert large == pytest.approx({name: value * factor for name, value in small.items()})
    nsd = _values(*pair, wide, (f"nsd@{1.3 * factor!r}",))
    assert next(iter(nsd.values())) == pytest.approx(
        _values(*pair, spacing, ("nsd@1.3",))["nsd@1.3"]
    )


@quick
@given(pairs(), spacings, st.integers(0, 3), st.integers(0, 3))
def test_the_place_in_the_image_does_not_matter(pair, spacing, before, after):
    names = ("dice", "iou", "hd", "hd95", "assd", "nsd@1")
    moved = [np.pad(mask, ((before, after),) * mask.ndim) for mask in pair]
    assert _values(*moved, spacing, names) == pytest.approx(_values(*pair, spacing, names))


@quick
@given(pairs(), spacings)
def test_axes_may_be_turned(pair, spacing):
    names = ("hd", "hd95", "assd", "nsd@1")
    turned = [np.ascontiguousarray(mask.T) for mask in pair]
    around = spacing[-pair[0].ndim :][::-1]
    assert score(*turned, around, metrics=names).values == pytest.approx(
        _values(*pair, spacing, names)
    )


@quick
@given(pairs(), spacings)
def test_a_mask_is_like_itself(pair, spacing):
    values = _values(pair[0], pair[0], spacing)
    assert values == pytest.approx({name: 0 if name in DISTANCES else 1 for name in SYMMETRIC})
