"""Prompts to loss: an opening prompt on each object, an answer, corrections, further answers.

Follows the interactive training of "Segment Anything" (arXiv 2304.02643, appendix A): earlier
logits come back as a prompt, corrections are clicked into the error, a lone click is answered by
the best of three masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segscope.adapt.data.sampler import Example, on_grid
from segscope.adapt.losses.mask_losses import iou_loss, mask_loss, presence_loss
from segscope.adapt.method import Adapted, Terms, mean_terms
from segscope.inference.constants import CLAMP
from segscope.inference.prompted_masks import decoder_prompt
from segscope.models.engine import Decoded, DecoderPrompt, Engine, Features
from segscope.prompts import Prompt
from segscope.simulate.plan import Plan


@dataclass(frozen=True)
class Weights:
    """Of the parts of the loss, to the mask's 1."""

    iou: float = 1.0
    presence: float = 0.05
    others: float = 0.1  # of three candidates, those that are not the best


USUAL = Weights()


def prompted_loss(adapted: Adapted, batch: Sequence[Example], weights: Weights = USUAL) -> Terms:
    """Mean loss of prompts and corrections on the prompted frame of each example."""
    parts = []
    for example in batch:
        features = on_grid(adapted.features(example), example)
        parts.append(interactive(adapted.engine, features[example.at], example, weights))
    return mean_terms(parts)


def interactive(
    engine: Engine, features: Features, example: Example, weights: Weights = USUAL
) -> Terms:
    """Loss of one image: rounds of answers, each object as many as its plan has, all rounds
    alike.

    Args:
        features: of the prompted frame, on the grid.

    Returns:
        "loss", and for the curves "dice" of the first answers.
    """
    truth = torch.from_numpy(example.truth[:, example.at]).to(engine.device)
    exchanges = [
        Exchange(plan, list(prompts))
        for plan, prompts in zip(example.plans, example.prompts, strict=True)
    ]
    losses: list[Tensor] = []
    dice: list[float] = []
    for number in range(max(exchange.plan.rounds for exchange in exchanges)):
        open_ = [k for k, exchange in enumerate(exchanges) if exchange.is_open(number)]
        for members, multimask in _by_multimask(engine, exchanges, open_):
            prompts = [exchanges[k].decoder_prompt() for k in members]
            decoded = engine.decode(features, prompts, multimask=multimask)
            loss, masks, low = answer_loss(
                engine, decoded, truth[members], features.size_hw, weights
            )
            losses += list(loss)
            for row, k in enumerate(members):
                if number == 0:
                    dice.append(_dice(masks[row], truth[k]))
                if number + 1 < exchanges[k].plan.rounds:
                    exchanges[k].correct(low[row], masks[row], example, k)
    return {
        "loss": torch.stack(losses).mean(),
        "dice": torch.tensor(float(np.mean(dice)), device=truth.device),
    }


@dataclass(eq=False)
class Exchange:
    """Prompts for one object, and the latest answer.

    Attributes:
        plan: of the prompts.
        prompts: made so far.
        previous: (row, column) logits of the latest answer.
        finished: whether there is nothing left to correct.
    """

    plan: Plan
    prompts: list[Prompt]
    previous: Tensor | None = None
    finished: bool = False

    def is_open(self, number: int) -> bool:
        """Whether a round takes place."""
        return number < self.plan.rounds and not self.finished

    def decoder_prompt(self) -> DecoderPrompt:
        """All prompts so far as the decoder takes them."""
        return decoder_prompt(self.prompts, self.previous)

    def correct(
        self,
        low: Tensor,
        mask: Tensor,
        example: Example,
        k: int,
    ) -> None:
        """Correct an answer: logits (row, column) of the decoder, mask (row, column) on the
        grid.
        """
        self.previous = low.clamp(-CLAMP, CLAMP)
        answer: NDArray[np.bool_] = mask.cpu().numpy()
        truth = example.truth[k, example.at]
        corrections = self.plan.correct(
            truth[None], answer[None], example.rng, tuple(self.prompts), frame=0
        )
        self.prompts += corrections
        self.finished = not corrections


def _by_multimask(
    engine: Engine, exchanges: Sequence[Exchange], members: Sequence[int]
) -> list[tuple[list[int], bool]]:
    """Objects that are answered with one mask, and those with three."""
    groups: dict[bool, list[int]] = {}
    for k in members:
        prompt = exchanges[k].decoder_prompt()
        many = engine.multimask(prompt.clicks, tracking=False) and prompt.previous is None
        groups.setdefault(many, []).append(k)
    return [(numbers, many) for many, numbers in groups.items()]


def answer_loss(
    engine: Engine,
    decoded: Decoded,
    truth: Tensor,
    size_hw: tuple[int, int],
    weights: Weights = USUAL,
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of each answer.

    Args:
        decoded: O objects with M candidates.
        truth: (O, row, column) bool on the grid of `size_hw`; an object may be absent.

    Returns:
        (O,) losses, (O, row, column) masks answered with, and their (O, row, column) logits, both
        without gradient.
    """
    full = engine.to_frame(decoded.logits, size_hw)
    target = truth[:, None]
    masks = mask_loss(full, target)
    scores = iou_loss(decoded.iou, full, target)
    if masks.shape[1] == 1:
        loss = masks[:, 0] + weights.iou * scores[:, 0]
    else:
        loss = masks.min(1).values + weights.others * masks.mean(1) + weights.iou * scores.mean(1)
    if decoded.object_score is not None and weights.presence:
        loss = loss + weights.presence * presence_loss(
            decoded.object_score, truth.flatten(1).any(1)
        )
    rows = torch.arange(len(full), device=full.device)
    best = decoded.iou.detach().argmax(1)
    return loss, full.detach()[rows, best] > 0, decoded.logits.detach()[rows, best].float()


def _dice(mask: Tensor, truth: Tensor) -> float:
    sizes = float(mask.sum() + truth.sum())
    if sizes:
        return 2 * float((mask & truth).sum()) / sizes
    return 1.0
