"""Small random engines of every family, and a made-up clip."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segscope.models.build import build
from segscope.models.cards import Card
from segscope.models.engine import Engine
from segscope.models.mini import build_mini
from segscope.models.mini_engine import MiniEngine
from segscope.models.sam import SamEngine
from segscope.models.sam2 import Sam2Engine
from segscope.stack import Stack

FAMILIES = ("sam2", "edgetam", "sam3", "mini", "sam")


def make_engine(family: str) -> Engine:
    """A small engine with the same random weights at every call."""
    zoom = family == "mini"
    card = Card(f"tiny-{family}", family, "test", 128, "Apache-2.0", "", zoom=zoom, memory=family != "sam")  # type: ignore[arg-type]
    if family == "mini":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return MiniEngine(build_mini(128), card, weights_hash="random")
    model = build(family, "test")
    if family == "sam":
        return SamEngine(model, card, weights_hash="random")
    # random presence scores would hide most masks
    with torch.no_grad():
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(5.0)  # type: ignore[union-attr]
    return Sam2Engine(model, card, weights_hash="random")


@pytest.fixture(scope="session", params=FAMILIES)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Every family in turn."""
    return make_engine(request.param)


@pytest.fixture(scope="session")
def sam2() -> Engine:
    return make_engine("sam2")


@pytest.fixture(scope="session")
def clip() -> Stack:
    """Eight grey frames (60, 80): a bright disc that moves right and a smaller one that stays."""
    y, x = np.mgrid[:60, :80]
    frames = np.full((8, 60, 80), 40, np.uint8)
    for index, frame in enumerate(frames):
        frame[(x - 20 - 4 * index) ** 2 + (y - 30) ** 2 < 100] = 200
        frame[(x - 65) ** 2 + (y - 12) ** 2 < 36] = 150
    return Stack.from_array(frames, times_s=np.arange(8) / 10)
