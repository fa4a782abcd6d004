"""Engines of SAM at the sides of published networks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from segscope.adapt.networks.sam_inputs import resize
from support.engines import make_engine


def make_resized_sam(side: int) -> Any:
    engine: Any = make_engine("sam")
    if side != 128:
        resize(engine, side)
    return engine


def since_january_2024(state: Mapping[str, Tensor], *, seed: int = 9) -> dict[str, Tensor]:
    """A file of Med-SA's first layout as its code has written them since January 2024: other names,
    a table of positions with 64 x 64 cells.
    """
    generator = torch.Generator().manual_seed(seed)
    renamed = {}
    for key, tensor in state.items():
        name = re.sub(r"(transformer\.layers\.\d\.mlp)\.lin1", r"\1.layers.0.0", key)
        name = re.sub(r"(transformer\.layers\.\d\.mlp)\.lin2", r"\1.fc", name)
        name = re.sub(r"attn\.rel_pos_([hw])$", r"attn.rel_\1", name)
        renamed[name] = tensor
    width = state["image_encoder.pos_embed"].shape[-1]
    renamed["image_encoder.pos_embed"] = torch.randn(1, 64, 64, width, generator=generator)
    return renamed
