"""Inputs of SAM: another side, and preprocessing as for published networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.engines import make_engine
from support.published_sam import make_resized_sam

from segscope.adapt.networks.parameter_groups import network
from segscope.adapt.networks.sam_inputs import UNIT, count_growth, set_input
from segscope.errors import UsageError


def test_growth_is_that_of_the_tables() -> None:
    plain = make_engine("sam")
    for side in (64, 256):
        resized = make_resized_sam(side)
        counts = [
            sum(item.numel() for item in network(engine).vision_encoder.parameters())
            for engine in (plain, resized)
        ]
        assert count_growth(plain, side) == counts[1] - counts[0]
        assert resized.input_size == resized.card.input_size == side


def test_unit_images_are_stretched_and_not_centred() -> None:
    engine = make_engine("sam")
    set_input(engine, UNIT)
    pixels = engine.pixels(np.full((30, 60, 3), 51, np.uint8))
    assert pixels.shape[-2:] == (128, 128)
    assert torch.allclose(pixels, torch.full_like(pixels, 0.2))


@pytest.mark.parametrize(
    ("family", "rule", "side", "reason"),
    [
        ("sam2", UNIT, 0, "is for SAM"),
        ("sam", "other", 0, "must be one of"),
        ("sam", UNIT, 100, "multiple of 16"),
    ],
)
def test_what_sam_does_not_support_is_refused(
    family: str, rule: str, side: int, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        set_input(make_engine(family), rule, side)
