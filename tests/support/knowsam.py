"""Small networks of KnowSAM."""

from __future__ import annotations

from typing import Any

from torch import nn

from segscope.adapt.method import Adapted
from segscope.adapt.methods.knowsam.method import KnowSam
from support.adaptation import attach_method


def make_knowsam(
    family: str = "sam2", classes: tuple[str, ...] = ("large body",), **settings: Any
) -> Adapted:
    """Students of 64 pixels and their teacher on a small engine."""
    small = {"side": 64, "width": 4, "prompt_width": 8}
    return attach_method(KnowSam(**{**small, **settings}), family, classes)


def count_parameters(module: nn.Module) -> int:
    return sum(item.numel() for item in module.parameters())
