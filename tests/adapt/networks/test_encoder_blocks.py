"""Blocks of image encoders: where they are, and modules inside them."""

from __future__ import annotations

import pytest
import torch
from support.adaptation import answers
from support.engines import make_engine
from torch import Tensor, nn

from segscope.adapt.networks.encoder_blocks import extend, places, quarters
from segscope.adapt.networks.parameter_groups import network

FAMILIES = ("sam", "sam2", "edgetam", "mini")


class Shift(nn.Module):
    """Adds the same number to every value."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.tensor(by))

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x) + self.by


def test_quarters_are_equal_but_for_the_last() -> None:
    assert quarters(7) == [0, 0, 1, 1, 2, 2, 3]
    assert quarters(12) == [k // 3 for k in range(12)]
    assert quarters(2) == [0, 1]


@pytest.mark.parametrize("family", FAMILIES)
def test_places_name_their_blocks(family: str) -> None:
    engine = make_engine(family)
    blocks = places(engine)
    assert blocks
    assert all(network(engine).get_submodule(each.name) is each.block for each in blocks)
    strides = [each.stride for each in blocks]
    assert strides == sorted(strides)


@pytest.mark.parametrize("child", ["after_mixing", "beside_mlp"])
@pytest.mark.parametrize("family", FAMILIES)
def test_children_that_add_nothing_change_nothing_and_others_do(family: str, child: str) -> None:
    before = answers(make_engine(family))
    for by in (0.0, 0.5):
        engine = make_engine(family)
        for place in places(engine):
            extend(place, **{child: Shift(by)})
        difference = max(
            float((a - b).abs().max()) for a, b in zip(before, answers(engine), strict=True)
        )
        assert (difference == 0) is (by == 0)
