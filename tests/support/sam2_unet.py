"""Small networks of SAM2-UNet."""

from __future__ import annotations

from typing import Any

from segscope.adapt.method import Adapted
from segscope.adapt.methods.sam2_unet.method import Sam2Unet, UnetSegmenter
from support.adaptation import attach_method


def make_unet(
    family: str = "sam2", classes: tuple[str, ...] = ("body",), **settings: Any
) -> Adapted:
    """A U-Net of 96 pixels on a small engine."""
    return attach_method(Sam2Unet(**{"side": 96, **settings}), family, classes)


def unet_of(adapted: Adapted) -> UnetSegmenter:
    assert isinstance(adapted.result, UnetSegmenter)
    return adapted.result
