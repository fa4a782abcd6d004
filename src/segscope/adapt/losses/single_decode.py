"""Opening prompts to loss, without corrections: one decode for each object, as Med-SA and DB-SAM
were trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from segscope.adapt.data.sampler import Example, on_grid
from segscope.adapt.losses.mask_losses import bce, dice_loss
from segscope.adapt.method import Adapted, Terms, mean_terms
from segscope.inference.prompted_masks import decoder_prompt
from segscope.models.engine import AnswerRule, Engine, Features

SINGLE_MASK = AnswerRule(candidates=1)
"""How a network that was trained by one decode answers: the decoder's other masks were not trained.
"""

Measure = Callable[[Tensor, Tensor], Tensor]
"""Logits and truth (O, row, column) to losses (O,)."""


def dice_and_cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Dice with squared shares + cross-entropy, equally weighted; (..., row, column) to (...)."""
    return dice_loss(logits, truth, squared=True) + bce(logits, truth)


def opening_loss(
    adapted: Adapted, batch: Sequence[Example], measure: Measure = dice_and_cross_entropy
) -> Terms:
    """Mean loss of the single masks for the opening prompts; the predicted IoU is not trained.

    Masks are compared on the grid of the example; the references compare the decoder's own size.
    """
    parts = [
        opening_terms(
            adapted.engine,
            on_grid(adapted.features(example), example)[example.at],
            example,
            measure,
        )
        for example in batch
    ]
    return mean_terms(parts)


def opening_terms(engine: Engine, features: Features, example: Example, measure: Measure) -> Terms:
    """The same of one image: "loss", and for the curves "dice"."""
    truth = torch.from_numpy(example.truth[:, example.at]).to(engine.device)
    prompts = list(map(decoder_prompt, example.prompts))
    decoded = engine.decode(features, prompts, multimask=False)
    full = engine.to_frame(decoded.logits, features.size_hw)[:, 0]
    dice = 1 - dice_loss(full.detach().sign() * 99, truth, smooth=1e-6).mean()
    return {"loss": measure(full, truth).mean(), "dice": dice}
