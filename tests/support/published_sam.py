"""Engines of SAM at the sides of published networks."""

from __future__ import annotations

from typing import Any

from segscope.adapt.networks.sam_inputs import resize
from support.engines import make_engine


def make_resized_sam(side: int) -> Any:
    engine: Any = make_engine("sam")
    if side != 128:
        resize(engine, side)
    return engine
