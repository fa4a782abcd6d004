"""Encoder trunks: the maps and pixels of the engines they come from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.adaptation import ellipse
from support.engines import make_engine

from segscope.adapt.methods.sam2_unet.method import (
    Sam2Unet,
)
from segscope.adapt.networks import encoder_trunk
from segscope.errors import UsageError

FAMILIES = ("sam2", "edgetam", "mini", "sam")


@pytest.mark.parametrize("side", [100, 80, 16])
def test_other_sides_are_refused(side: int) -> None:
    with pytest.raises(UsageError, match="multiple of 32"):
        Sam2Unet(side=side)
    with pytest.raises(UsageError, match="multiple of 32"):
        encoder_trunk.trunk(make_engine("sam2")).maps(torch.zeros(1, 3, side, side))


@torch.no_grad()
def test_the_trunk_is_that_of_the_library() -> None:
    engine: Any = make_engine("sam2")
    values = encoder_trunk.pixels(engine, ellipse(np.random.default_rng(0))[0], 128)[0]
    theirs = engine.model.vision_encoder.backbone(values).intermediate_hidden_states
    for ours, item in zip(encoder_trunk.trunk(engine).maps(values), theirs, strict=True):
        assert torch.equal(ours, item.permute(0, 3, 1, 2))


@pytest.mark.parametrize("family", ["edgetam", "sam"])
@torch.no_grad()
def test_other_trunks_are_those_of_their_engines(family: str) -> None:
    engine: Any = make_engine(family)
    values = encoder_trunk.pixels(engine, ellipse(np.random.default_rng(0))[0], 128)[0]
    ours = encoder_trunk.trunk(engine).maps(values)
    encoder = engine.model.vision_encoder
    theirs = (
        encoder.backbone.timm_model(values)
        if family == "edgetam"
        else [encoder(values).last_hidden_state]
    )
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_pixels_are_those_of_the_engine(family: str) -> None:
    engine: Any = make_engine(family)
    rgb = ellipse(np.random.default_rng(0), side=128)[0]
    own = engine.pixels(rgb) if family == "sam" else engine.pixels(rgb, video=False)
    assert float((encoder_trunk.pixels(engine, rgb, 128)[0] - own).abs().max()) < 1e-4
