"""Adapter layers of SAM-Med2D."""

from __future__ import annotations

import pytest
import torch

from segscope.adapt.methods.sam_med2d.layers import AdapterLayer


@pytest.mark.parametrize("light", [True, False])
@pytest.mark.parametrize("size_hw", [(15, 15), (16, 16), (7, 10), (1, 1)])
def test_odd_grids_work(light: bool, size_hw: tuple[int, int]) -> None:
    layer = AdapterLayer(16, light=light, zero=False)
    x = torch.randn(2, *size_hw, 16)
    found = layer(x)
    assert found.shape == x.shape
    assert bool(found.isfinite().all())
