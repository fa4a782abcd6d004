"""Inputs of SAM at another side, and preprocessed as for published networks.

base    as for the base
unit    stretched to the square, bilinear, 0 to 1, without subtracting a mean (Med-SA's public code)
med2d   channels swapped, SAM's mean and deviation; stretched by nearest neighbours, or centred in
        zeros where the image is smaller (SAM-Med2D's public loaders)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from segscope.errors import UsageError
from segscope.models.engine import Engine
from segscope.models.library import LibraryModule
from segscope.models.sam import InputRule, Placement, SamEngine, standardise

BASE = "base"
UNIT = "unit"
MED2D = "med2d"


def set_input(engine: Engine, rule: str, side: int = 0) -> None:
    """Change how an engine of SAM preprocesses images, in place; nothing for "base" and its own
    side.

    Raises:
        UsageError: another family, an unknown rule, a side that SAM does not support.
    """
    if rule == BASE and not side:
        return
    if engine.card.family != "sam" or not isinstance(engine, SamEngine):
        raise UsageError(
            "another side or preprocessing of images is for SAM; "
            f"{engine.card.name} belongs to {engine.card.family}"
        )
    rules: dict[str, InputRule] = {
        BASE: engine.input_rule,
        UNIT: UnitInput(),
        MED2D: Med2dInput(),
    }
    if rule not in rules:
        raise UsageError(f"images must be one of {', '.join(rules)}, got {rule!r}")
    if side and side != engine.input_size:
        resize(engine, side)
    engine.input_rule = rules[rule]


def resize(engine: SamEngine, side: int) -> None:
    """Give SAM another side of the input: position tables are resized, everything else stays.

    Absolute positions are resized bilinearly, relative ones of global attention linearly, as
    attention itself does.
    """
    if side < 16 or side % 16:
        raise UsageError(f"the side of SAM's input must be a multiple of 16 pixels, got {side}")
    model = engine.model
    cells = side // 16
    encoder = model.vision_encoder
    prompts = model.prompt_encoder
    with torch.no_grad():
        table = encoder.pos_embed.permute(0, 3, 1, 2)
        table = F.interpolate(table, (cells, cells), mode="bilinear", align_corners=False)
        encoder.pos_embed = _freeze(table.permute(0, 2, 3, 1))
        for layer in encoder.layers:
            if layer.window_size:
                continue
            attention = layer.attn
            attention.rel_pos_h = _freeze(resize_relative(attention.rel_pos_h, cells))
            attention.rel_pos_w = _freeze(resize_relative(attention.rel_pos_w, cells))
    encoder.patch_embed.image_size = (side, side)
    encoder.image_size = prompts.input_image_size = side
    prompts.image_embedding_size = (cells, cells)
    # every engine has a configuration of its own
    model.config.vision_config.image_size = model.config.prompt_encoder_config.image_size = side
    model.config.prompt_encoder_config.image_embedding_size = cells
    engine.input_size = side
    engine.card = replace(engine.card, input_size=side)


def _freeze(table: Tensor) -> nn.Parameter:
    return nn.Parameter(table.contiguous(), requires_grad=False)


def resize_relative(table: Tensor, cells: int) -> Tensor:
    """A table of relative positions (position, channel) for maps of `cells` rows or columns."""
    return F.interpolate(table.T[None], 2 * cells - 1, mode="linear")[0].T


def count_growth(engine: Engine, side: int) -> int:
    """How many parameters the encoder gains by `resize`; negative for a smaller side."""
    if not side:
        return 0
    encoder: LibraryModule = engine.model.vision_encoder
    old = encoder.pos_embed.shape[1]
    new = side // 16
    width = encoder.pos_embed.shape[-1]
    tables = sum(
        2 * 2 * (new - old) * layer.attn.rel_pos_h.shape[1]
        for layer in encoder.layers
        if not layer.window_size
    )
    return int((new**2 - old**2) * width + tables)


@dataclass(frozen=True)
class UnitInput:
    """Images stretched to the square, bilinear, and scaled to 0 to 1."""

    def place(self, size_hw: tuple[int, int], side: int) -> Placement:
        return Placement(0, 0, side, side)

    def pixels(self, rgb: NDArray[np.uint8], side: int) -> Tensor:
        resized = np.array(Image.fromarray(rgb).resize((side, side), Image.Resampling.BILINEAR))
        return torch.from_numpy(resized).permute(2, 0, 1)[None].float() / 255


@dataclass(frozen=True)
class Med2dInput:
    """Images as SAM-Med2D preprocesses them.

    Attributes:
        swapped: whether channels are in the order blue, green, red, as in its training.
    """

    swapped: bool = True

    def place(self, size_hw: tuple[int, int], side: int) -> Placement:
        """Centred where the image is smaller than the input, else stretched to it."""
        height, width = size_hw
        if max(height, width) >= side:
            return Placement(0, 0, side, side)
        return Placement((side - height) // 2, (side - width) // 2, height, width)

    def pixels(self, rgb: NDArray[np.uint8], side: int) -> Tensor:
        height, width = rgb.shape[:2]
        image = rgb
        if self.swapped:
            image = rgb[..., ::-1]
        pixels = torch.from_numpy(standardise(image)).permute(2, 0, 1)[None]
        if max(height, width) >= side:
            return F.interpolate(pixels, (side, side), mode="nearest")
        place = self.place((height, width), side)
        right = side - width - place.left
        bottom = side - height - place.top
        return F.pad(pixels, (place.left, right, place.top, bottom))
