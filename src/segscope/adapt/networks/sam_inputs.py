"""Other eyes for SAM: another side of the input, and images as published networks were shown
them.

base    as the base sees them
unit    stretched to the square, bilinear, 0 to 1, no mean taken out (Med-SA's public code)
med2d   channels swapped, SAM's mean and deviation, stretched by nearest neighbours, or centred in
zeros where the
        image is smaller (SAM-Med2D's public loaders)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from segscope.errors import UsageError
from segscope.models.engine import AnswerRule, Engine
from segscope.models.sam import InputRule, Placement, SamEngine, standardise

BASE = "base"
UNIT = "unit"
MED2D = "med2d"


def look(engine: Engine, rule: str, side: int = 0) -> None:
    """Change how an engine of SAM sees images, in place; nothing for "base" and its own side.

    Raises:
        UsageError: another family, an unknown rule, a side that SAM cannot have.
    """
    if rule == BASE and not side:
        return
    if engine.card.family != "sam" or not isinstance(engine, SamEngine):
        raise UsageError(
            f"another side or rule for images is for SAM; {engine.card.name} is of {engine.card.family}"
        )
    rules: dict[str, InputRule] = {
        BASE: engine.input_rule,
        UNIT: UnitInput(),
        MED2D: Med2dInput(),
    }
    if rule not in rules:
        raise UsageError(f"images are {', '.join(rules)}, not {rule!r}")
    if side and side != engine.input_size:
        resize(engine, side)
    engine.input_rule = rules[rule]


def resize(engine: SamEngine, side: int) -> None:
    """Give SAM another side of the input: tables of positions are resized, the rest stays.

    Absolute positions bilinearly, relative ones of global attention linearly, as attention itself
    would.
    """
    if side < 16 or side % 16:
        raise UsageError(f"SAM wants a side that is a multiple of 16 pixels, got {side}")
    model = engine.model
    cells = side // 16
    encoder = model.vision_encoder
    prompts = model.prompt_encoder
    with torch.no_grad():
        place = encoder.pos_embed.permute(0, 3, 1, 2)
        moved = F.interpolate(place, (cells, cells), mode="bilinear", align_corners=False)
        encoder.pos_embed = nn.Parameter(
            moved.permute(0, 2, 3, 1).contiguous(), requires_grad=False
        )
        for layer in encoder.layers:
            if layer.window_size:
                continue
            for name in ("rel_pos_h", "rel_pos_w"):
                table = getattr(layer.attn, name).T[None]
                moved = F.interpolate(table, 2 * cells - 1, mode="linear")
                setattr(
                    layer.attn, name, nn.Parameter(moved[0].T.contiguous(), requires_grad=False)
                )
    encoder.patch_embed.image_size = (side, side)
    encoder.image_size = prompts.input_image_size = side
    prompts.image_embedding_size = (cells, cells)
    # the engine's network may share its configuration with no other
    model.config.vision_config.image_size = model.config.prompt_encoder_config.image_size = side
    model.config.prompt_encoder_config.image_embedding_size = cells
    engine.input_size = side
    engine.card = replace(engine.card, input_size=side)


def growth(engine: Engine, side: int) -> int:
    """How many numbers more the encoder has after `resize`; negative for a smaller side."""
    if not side:
        return 0
    encoder: Any = engine.model.vision_encoder
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
    """Images as SAM-Med2D has them.

    Attributes:
        swapped: whether channels are given in the order blue, green, red, as its training read
            them.
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


def answer(engine: Engine, *, three: bool, shares: bool) -> None:
    """Change how an engine answers prompts, in place.

    Args:
        three: always three candidates, of which the one with the highest predicted IoU counts.
        shares: earlier answers are given to the decoder as shares from 0 to 1, not as logits.
    """
    engine.answer_rule = AnswerRule(always_three=three, previous_as_probability=shares)
