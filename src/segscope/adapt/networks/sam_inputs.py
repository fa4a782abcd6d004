"""Other eyes for SAM: another side of the input, and images as published networks were shown
them.

base    as the base sees them
unit    stretched to the square, bilinear, 0 to 1, no mean taken out (Med-SA's public code)
med2d   channels swapped, SAM's mean and deviation, stretched by nearest neighbours, or centred in
zeros where the
        image is smaller (SAM-Med2D's public loaders)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from segscope.errors import UsageError
from segscope.models.engine import Decoded, DecoderPrompt, Engine, Features
from segscope.models.sam import SamEngine

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
    rules = {BASE: SamEngine, UNIT: UnitEngine, MED2D: Med2dEngine}
    if rule not in rules:
        raise UsageError(f"images are {', '.join(rules)}, not {rule!r}")
    if side and side != engine.input_size:
        resize(engine, side)
    if rule != BASE:
        engine.__class__ = rules[rule]


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
    encoder: Any = engine.model.vision_encoder  # type: ignore[attr-defined]
    old = encoder.pos_embed.shape[1]
    new = side // 16
    width = encoder.pos_embed.shape[-1]
    tables = sum(
        2 * 2 * (new - old) * layer.attn.rel_pos_h.shape[1]
        for layer in encoder.layers
        if not layer.window_size
    )
    return int((new**2 - old**2) * width + tables)


class UnitEngine(SamEngine):
    """SAM with images stretched to the square and scaled to 0 to 1."""

    def pixels(self, rgb: NDArray[np.uint8]) -> Tensor:
        side = self.input_size
        resized = np.asarray(Image.fromarray(rgb).resize((side, side), Image.Resampling.BILINEAR))
        return (torch.from_numpy(resized.copy()).to(self.device).permute(2, 0, 1).float() / 255)[
            None
        ]

    def _inner(self, height: int, width: int) -> tuple[int, int]:
        return self.input_size, self.input_size


class Med2dEngine(SamEngine):
    """SAM with images as SAM-Med2D has them.

    Attributes:
        swapped: whether channels are given in the order blue, green, red, as its training read
            them.
    """

    swapped = True

    def pixels(self, rgb: NDArray[np.uint8]) -> Tensor:
        side = self.input_size
        image = rgb
        if self.swapped:
            image = rgb[..., ::-1]
        values = (image.astype(np.float32) - np.array(self.mean, np.float32)) / np.array(
            self.std, np.float32
        )
        pixels = torch.from_numpy(values).to(self.device).permute(2, 0, 1)[None]
        if not self._small(rgb.shape[:2]):
            return F.interpolate(pixels, (side, side), mode="nearest")
        top, left = self._margins(rgb.shape[:2])
        return F.pad(pixels, (left, side - rgb.shape[1] - left, top, side - rgb.shape[0] - top))

    def _small(self, size_hw: Sequence[int]) -> bool:
        return max(size_hw) < self.input_size

    def _margins(self, size_hw: Sequence[int]) -> tuple[int, int]:
        return (self.input_size - size_hw[0]) // 2, (self.input_size - size_hw[1]) // 2

    def _inner(self, height: int, width: int) -> tuple[int, int]:
        if self._small((height, width)):
            return (height, width)
        return (self.input_size, self.input_size)

    def to_frame(self, logits: Tensor, size_hw: tuple[int, int]) -> Tensor:
        if not self._small(size_hw) or logits.shape[-1] != self.input_size // 4:
            return super().to_frame(logits, size_hw)
        top, left = self._margins(size_hw)
        flat = logits.reshape(-1, 1, *logits.shape[-2:]).float()
        square = F.interpolate(
            flat, (self.input_size, self.input_size), mode="bilinear", align_corners=False
        )
        inside = square[..., top : top + size_hw[0], left : left + size_hw[1]]
        return inside.reshape(*logits.shape[:-2], *size_hw)

    def decode(
        self,
        features: Features,
        hints: Sequence[DecoderPrompt],
        *,
        multimask: bool,
        conditioned: Tensor | None = None,
    ) -> Decoded:
        if self._small(features.size_hw):
            top, left = self._margins(features.size_hw)
            hints = [_moved(hint, left, top) for hint in hints]
        return super().decode(features, hints, multimask=multimask, conditioned=conditioned)


def answer(engine: Engine, *, three: bool, shares: bool) -> None:
    """Change how an engine answers prompts, in place.

    Args:
        three: always three candidates, of which the one with the highest predicted IoU counts.
        shares: earlier answers are given to the decoder as shares from 0 to 1, not as logits.
    """
    kind: Any = type(engine)

    def multimask(self: Any, clicks: int, *, tracking: bool) -> bool:
        if tracking:
            return kind.multimask(self, clicks, tracking=tracking)
        return True

    def decode(
        self: Any, features: Features, hints: Sequence[DecoderPrompt], **options: Any
    ) -> Decoded:
        given = [
            hint if hint.previous is None else replace(hint, previous=hint.previous.sigmoid())
            for hint in hints
        ]
        return kind.decode(self, features, given, **options)  # type: ignore[no-any-return]

    own = ({"multimask": multimask} if three else {}) | ({"decode": decode} if shares else {})
    if own:
        engine.__class__ = type(kind.__name__, (kind,), own)


def _moved(hint: DecoderPrompt, left: int, top: int) -> DecoderPrompt:
    box = None
    if hint.box is not None:
        box = tuple(np.add(hint.box, (left, top, left, top)).tolist())
    return replace(hint, points=hint.points + np.array([left, top]), box=box)
