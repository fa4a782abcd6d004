"""Linear probe: a 1x1 convolution from frozen features to classes, without any prompt.

The smallest prompt-free network, and the baseline for larger ones: how well do the frozen features
separate the classes? All feature maps are used, the coarser ones enlarged to the finest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from segscope.adapt.data.sampler import Example, on_grid
from segscope.adapt.data.training_set import Split
from segscope.adapt.losses.mask_losses import class_loss
from segscope.adapt.method import Adapted, Method, Terms
from segscope.adapt.networks.parameter_groups import feature_channels
from segscope.adapt.training.settings import TrainingSettings
from segscope.adapt.validation.frames import class_dice, stored_features
from segscope.adapt.validation.scores import ValidationScores
from segscope.errors import UsageError
from segscope.models.engine import Engine, Features
from segscope.models.model_cards import Card


@dataclass(frozen=True)
class LinearProbe(Method):
    """Train one linear layer on frozen features."""

    name: ClassVar[str] = "linear-probe"
    about: ClassVar[str] = "one 1x1 layer on frozen features; no prompts"
    when: ClassVar[str] = (
        "Classes of every pixel in seconds, and the baseline for other prompt-free methods."
    )
    paper: ClassVar[str] = "arXiv:1610.01644"
    promptable: ClassVar[bool] = False
    identity: ClassVar[bool] = False

    def settings(self, card: Card, frames: int) -> TrainingSettings:
        return TrainingSettings(
            steps=min(2000, max(400, 15 * frames)), rate=1e-2, batch=8, average=0.95
        )

    @property
    def frozen_encoder(self) -> bool:
        return True

    def attach(self, engine: Engine, classes: Sequence[str] = ()) -> Adapted:
        if not classes:
            raise UsageError("a prompt-free network needs the names of the classes to distinguish")
        head = ProbeHead(sum(feature_channels(engine)), len(classes) + 1).to(engine.device)
        trained = {name: item for name, item in head.named_parameters() if item.requires_grad}
        result = ProbeSegmenter(engine, head, tuple(classes))
        return Adapted(self, engine, head, trained, result=result)

    def parameters(self, engine: Engine, classes: Sequence[str] = ()) -> int:
        return (sum(feature_channels(engine)) + 1) * (len(classes) + 1)

    def loss(self, adapted: Adapted, batch: Sequence[Example]) -> Terms:
        losses = []
        for example in batch:
            features = on_grid(adapted.features(example), example)[example.at]
            logits = class_logits(adapted.engine, adapted.root, features)
            truth = torch.from_numpy(example.classes[example.at]).to(logits.device)
            losses.append(class_loss(logits[None], truth[None])[0])
        return {"loss": torch.stack(losses).mean()}

    @torch.no_grad()
    def validate(self, adapted: Adapted, cases: Split) -> ValidationScores:
        def predict(frame: int, rgb: NDArray[np.uint8]) -> Tensor:
            return class_logits(
                adapted.engine, adapted.root, stored_features(adapted, (frame, "whole"), rgb)
            ).float()

        return class_dice(cases, predict)


class ProbeHead(nn.Module):
    """From feature maps to classes: each map is normalised by itself, then one linear layer."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.classify = nn.Conv2d(channels, classes, 1)
        nn.init.zeros_(self.classify.weight)
        nn.init.zeros_(self.classify.bias)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(1, class, row, column) logits at the resolution of the finest map."""
        size = maps[0].shape[-2:]
        enlarged = []
        for item in maps:
            normed = F.group_norm(item.float(), 1)
            enlarged.append(F.interpolate(normed, size, mode="bilinear", align_corners=False))
        return self.classify(torch.cat(enlarged, 1))


def class_logits(engine: Engine, head: nn.Module, features: Features) -> Tensor:
    """(class, row, column) logits at the size of the encoded image."""
    logits = head(features.maps)
    if engine.card.family == "sam" and not engine.card.squash:
        # SAM's image covers a part of the square input; `to_frame` removes the padding from maps of
        # the decoder's size
        side = engine.input_size // 4
        square = F.interpolate(logits, (side, side), mode="bilinear", align_corners=False)
        return engine.to_frame(square, features.size_hw)[0]
    return F.interpolate(logits, features.size_hw, mode="bilinear", align_corners=False)[0]


class ProbeSegmenter:
    """A base and a head, as a `segscope.models.segmenter.Segmenter`."""

    def __init__(self, engine: Engine, head: nn.Module, classes: tuple[str, ...]) -> None:
        self.engine = engine
        self.head = head
        self.classes = classes
        self.card = replace(engine.card, prompts=(), memory=False, zoom=False)
        self.device = engine.device
        self.dtype = engine.dtype
        self.input_size = engine.input_size
        self.weights_hash = engine.weights_hash

    @torch.no_grad()
    def predict(self, rgb: NDArray[np.uint8]) -> Tensor:
        return class_logits(self.engine, self.head, self.engine.encode(rgb)).float()

    def settings(self) -> dict[str, object]:
        return {**self.engine.settings(), "classes": list(self.classes)}
