"""Label maps of scenes."""

from __future__ import annotations

import numpy as np
import pytest

from segscope.phantom.shapes import FAMILIES


@pytest.mark.parametrize("family", [f for f, _ in FAMILIES], ids=lambda f: f.__name__)
def test_families_draw_planes(family):
    planes = [family(np.random.default_rng(seed), 96) for seed in range(4)]
    assert all(p.shape == (2, 96, 96) and p.dtype == np.uint16 for p in planes)
    assert any(p.any() for p in planes)


def test_parts_lie_inside_wholes():
    family = next(f for f, _ in FAMILIES if f.__name__ == "nested")
    parts, wholes = family(np.random.default_rng(5), 128)
    assert (wholes[parts > 0] > 0).all()
