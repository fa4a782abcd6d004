"""What tests of adaptation share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segscope.adapt.data.sampler import Sampler
from segscope.adapt.data.training_set import Data
from segscope.adapt.method import Adapted, Method
from segscope.adapt.saved import AdaptationRecord, attach, base_of, write
from segscope.adapt.training.settings import TrainingSettings
from segscope.adapt.training.trainer import Trainer
from segscope.adapt.validation.frames import validate
from segscope.models.engine import DecoderPrompt
from segscope.models.segmenter import Segmenter
from support.engines import make_engine

BOX = TrainingSettings(
    steps=3,
    batch=2,
    augment=0.0,
    workers=0,
    average=0.0,
    validate_every=3,
    prompts=((1.0, "box.jitter:share=0.03"),),
)


def ellipse(
    rng: np.random.Generator, *, spot: bool = False, side: int = 96
) -> tuple[Any, NDArray[np.uint8]]:
    """An image (row, column, 3) with one bright ellipse, and a label map."""
    y, x = np.mgrid[:side, :side] + 0.5
    cx, cy = rng.uniform(0.35, 0.65, 2) * side
    a, b = rng.uniform(0.15, 0.28, 2) * side
    body = ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 < 1
    grey = 60 + 100 * body + rng.normal(0, 6, body.shape)
    labels = body.astype(np.uint8)
    if spot:
        inside = (x - 12) ** 2 + (y - 12) ** 2 < 36
        grey[inside], labels[inside] = 240, 2
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, -1), labels


def draw_slices(count: int = 4) -> list[NDArray[np.uint8]]:
    """Different images (row, column, 3) of one size."""
    return [ellipse(np.random.default_rng(k))[0] for k in range(count)]


SMALL: dict[str, dict[str, Any]] = {"knowsam": {"side": 64, "width": 4}, "sam2-unet": {"side": 64}}
"""TrainingSettings that make tests of what all methods have in common shorter."""


def attached(
    kind: type[Method], family: str, classes: Sequence[str] = ("large body",), *, small: bool = True
) -> Adapted:
    """A method on a fresh small engine; `small` in settings that suit a test, else in those that
    suit the engine.
    """
    engine = make_engine(family)
    chosen = replace(kind.default_for(engine.card), **SMALL.get(kind.name, {}) if small else {})
    return attach(chosen, engine, tuple(classes))


def attach_method(
    method: Method, family: str = "sam", classes: Sequence[str] = ("large body",)
) -> Adapted:
    """A method with its settings on a fresh small engine."""
    return attach(method, make_engine(family), tuple(classes))


def perturb(adapted: Adapted, share: float = 0.05) -> Adapted:
    """Add noise to everything that is trained, as after training."""
    torch.manual_seed(1)
    with torch.no_grad():
        for item in adapted.trained.values():
            item.add_(share * torch.randn_like(item))
    return adapted


def write_adaptation(adapted: Adapted, folder: Path) -> AdaptationRecord:
    """Save an adaptation as if it was trained on ellipses."""
    base = base_of(adapted.engine, "tiny")
    record = AdaptationRecord(adapted.method, base, ("large body",), {"sets": ["ellipses"]})
    return write(folder, record, adapted.tensors())


def sampler(
    adapted: Adapted, data: Data, settings: TrainingSettings = BOX, variants: int = 0
) -> Sampler:
    method = adapted.method
    return Sampler(
        data.train,
        data.unlabelled,
        settings,
        zoom=adapted.engine.card.zoom and method.promptable,
        promptable=method.promptable,
        frames=method.frames,
        grid=128,
        variants=variants,
        more=method.unlabelled,
    )


def trainer(
    adapted: Adapted, data: Data, settings: TrainingSettings = BOX, folder: Path | None = None
) -> Trainer:
    return Trainer(adapted, data, sampler(adapted, data, settings), folder)


def each_dice(adapted: Adapted, data: Data) -> list[float]:
    """Dice of every training image by itself, from a jittered box."""
    return [
        validate(adapted, replace(data.train, items=(item,)))["dice"] for item in data.train.items
    ]


@torch.no_grad()
def answers(model: Any, seed: int = 0) -> list[Tensor]:
    """Logits of a fixed image: for a box and for a click, or of classes."""
    rgb = ellipse(np.random.default_rng(100 + seed))[0]
    if isinstance(model, Segmenter):
        return [model.predict(rgb)]
    features = model.encode(rgb)
    box = DecoderPrompt(np.zeros((0, 2)), np.zeros(0, bool), (20.0, 25.0, 70.0, 72.0))
    click = DecoderPrompt(np.array([[48.0, 50.0]]), np.ones(1, bool))
    return [
        model.decode(
            features, [hint], multimask=model.multimask(hint.clicks, tracking=False)
        ).logits
        for hint in (box, click)
    ]


def snapshot(adapted: Adapted) -> dict[str, Tensor]:
    """Copies of every parameter and buffer of the engine, and of what a method has of its own."""
    held = dict(adapted.root.state_dict())
    held |= {f"engine.{name}": item for name, item in adapted.engine.model.state_dict().items()}  # type: ignore[attr-defined]
    return {name: item.clone() for name, item in held.items()}
