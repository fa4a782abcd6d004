"""Small random engines of every family."""

from __future__ import annotations

import copy
from functools import cache

import torch

from segscope.models.build import build
from segscope.models.engine import Engine
from segscope.models.mini import MiniEngine, build_mini
from segscope.models.model_cards import Card
from segscope.models.sam import SamEngine
from segscope.models.sam2 import Sam2Engine

FAMILIES = ("sam2", "edgetam", "sam3", "mini", "sam")


def make_engine(family: str) -> Engine:
    """A small engine with the same random weights at every call."""
    return copy.deepcopy(_prototype(family))


@cache
def _prototype(family: str) -> Engine:
    """Built once: a copy takes half the time that the library needs to build a network."""
    zoom = family == "mini"
    card = Card(
        f"tiny-{family}", family, "test", 128, "Apache-2.0", "", zoom=zoom, memory=family != "sam"
    )  # type: ignore[arg-type]
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
