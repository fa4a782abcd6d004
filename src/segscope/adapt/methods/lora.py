"""LoRA: low-rank updates of the attention of the image encoder, by peft, and the whole mask
decoder.

"LoRA: Low-Rank Adaptation of Large Language Models" (arXiv 2106.09685): a frozen layer W x becomes
W x + (alpha / r) B A x with B zero at the start. With SAM's encoder and a fully trained decoder
this is "SAMed" (arXiv 2304.13785). EdgeTAM's encoder has no attention; there the 1x1 convolutions
that mix channels are updated.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from segscope._optional import require
from segscope.adapt.data.sampler import Example
from segscope.adapt.losses.clip import clip_loss
from segscope.adapt.method import Adapted, Terms
from segscope.adapt.method_presets import check_members
from segscope.adapt.networks.parameter_groups import (
    DECODER,
    HIGH_RESOLUTION,
    count_parameters,
    make_trainable,
    network,
)
from segscope.adapt.prompted_method import PromptedMethod
from segscope.adapt.training.settings import TrainingSettings
from segscope.errors import UsageError
from segscope.models.engine import Engine
from segscope.models.model_cards import Card

ENCODERS = {
    "sam": r"vision_encoder\.layers\.\d+\.attn\.(qkv|proj)",
    "sam2": r"vision_encoder\.backbone\.blocks\.\d+\.attn\.(qkv|proj)",
    "edgetam": r"vision_encoder\.backbone\.timm_model\..*\.channel_mixer\.conv[12]\.c",
    "mini": r"vision_encoder\.stage16\.\d+\.(qkv|out)",
}
MEMORY = r"memory_attention\.layers\.\d+\.(self_attn|cross_attn_image)\.[qkvo]_proj"
WHERE = ("encoder", "memory")
ADAPTER = "default"  # peft's name of an unnamed adapter


@dataclass(frozen=True)
class Lora(PromptedMethod):
    """Train low-rank updates.

    Attributes:
        rank: of each update.
        alpha: updates are scaled by alpha / rank.
        where: "encoder", "memory" (attention to memory, trained on clips) or both.
        decoder: whether the whole mask decoder is trained as well.
        clip: frames of a clip, where memory is trained.
    """

    name: ClassVar[str] = "lora"
    about: ClassVar[str] = "low-rank updates of attention, and the mask decoder"
    when: ClassVar[str] = (
        "When the decoder alone is not enough; small files, and it merges into the base."
    )
    paper: ClassVar[str] = "arXiv:2106.09685"
    dims: ClassVar = ("2d", "video")

    rank: int = 8
    alpha: float = 16.0
    where: tuple[str, ...] = ("encoder",)
    decoder: bool = True
    clip: int = 4

    def __post_init__(self) -> None:
        check_members(self, "where", WHERE, nothing="nothing")
        if self.rank < 1 or self.alpha <= 0 or self.clip < 2:
            raise UsageError("rank must be at least 1, alpha above 0, clip at least 2 frames")

    def settings(self, card: Card, frames: int) -> TrainingSettings:
        rate = 3e-4
        if card.family == "mini":
            rate = 1e-3
        return TrainingSettings(steps=min(2500, max(300, 15 * frames)), rate=rate)

    @property
    def frozen_encoder(self) -> bool:
        return "encoder" not in self.where

    @property
    def frames(self) -> int:
        if "memory" in self.where:
            return self.clip
        return 1

    def attach(self, engine: Engine, classes: Sequence[str] = ()) -> Adapted:
        peft = require("peft", "train", "adapt with LoRA")
        root = network(engine)
        targets = [f"network.{name}" for name, _ in _find_layers(root, self._pattern(engine))]
        config = peft.LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=0.0,
            bias="none",
            target_modules=targets,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft warns about settings that we do not use
            # inside a plain module, because peft asks a model of the library for its input
            # embeddings, and EdgeTAM's encoder has none
            peft.inject_adapter_in_model(config, nn.ModuleDict({"network": root}))
        root.requires_grad_(False).eval()
        trained = {name: item for name, item in root.named_parameters() if ".lora_" in name}
        for item in trained.values():
            item.requires_grad_(True)
        if self.decoder:
            trained |= make_trainable(root, DECODER, HIGH_RESOLUTION)
        # pretrained weights learn more slowly than updates, which start from zero
        return Adapted(self, engine, root, trained, rates=dict.fromkeys(DECODER, 0.3))

    def parameters(self, engine: Engine, classes: Sequence[str] = ()) -> int:
        root = network(engine)
        total = 0
        for _, layer in _find_layers(root, self._pattern(engine)):
            if isinstance(layer, nn.Linear):
                ends = (layer.in_features, layer.out_features)
            else:
                ends = layer.weight.shape[:2]
            total += self.rank * (ends[0] + ends[1])
        if self.decoder:
            total += count_parameters(root, DECODER, HIGH_RESOLUTION)
        return total

    def loss(self, adapted: Adapted, batch: Sequence[Example]) -> Terms:
        if "memory" in self.where:
            return clip_loss(adapted, batch)
        return super().loss(adapted, batch)

    @torch.no_grad()
    def merge(self, adapted: Adapted) -> Engine:
        for name, layer in list(adapted.root.named_modules()):
            if hasattr(layer, "get_delta_weight"):
                base: Any = layer.base_layer
                base.weight.add_(layer.get_delta_weight(ADAPTER))  # type: ignore[operator]
                owner, _, last = name.rpartition(".")
                setattr(adapted.root.get_submodule(owner), last, base)
        return adapted.engine

    def _pattern(self, engine: Engine) -> str:
        family = engine.card.family
        if "memory" in self.where and not engine.memory_frames:
            raise UsageError(f"{engine.card.name} has no memory to adapt; use where=encoder")
        parts = {"encoder": ENCODERS[family], "memory": MEMORY}
        return "|".join(parts[name] for name in self.where)


def _find_layers(root: nn.Module, pattern: str) -> Iterator[tuple[str, Any]]:
    for name, layer in root.named_modules():
        if re.fullmatch(pattern, name):
            yield name, layer
