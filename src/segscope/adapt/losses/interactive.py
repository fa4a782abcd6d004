"""Prompts to loss: an opening prompt on each object, an answer, corrections, further answers.

Follows the interactive training of "Segment Anything" (arXiv 2304.02643, appendix A): earlier
logits come back as a prompt, corrections are clicked into the error, a lone click is answered by
the best of three masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segscope.adapt.data.sampler import Example, on_grid
from segscope.adapt.losses.mask_losses import iou_loss, mask_loss, presence_loss
from segscope.adapt.method import Adapted, Terms
from segscope.models.engine import Decoded, DecoderPrompt, Engine, Features
from segscope.prompts import Box, MaskPrompt, Point, Prompt, Scribble
from segscope.simulate.plan import Plan

CLAMP = 32.0  # bounds of earlier logits, as prediction has them
GIVEN = 10.0  # logit of a mask that somebody gave
CLICKS_PER_SCRIBBLE = 5


@dataclass(frozen=True)
class Weights:
    """Of the parts of the loss, to the mask's 1."""

    iou: float = 1.0
    presence: float = 0.05
    others: float = 0.1  # of three candidates, those that are not the best


USUAL = Weights()


def hint_of(prompts: Sequence[Prompt], previous: Tensor | None = None) -> DecoderPrompt:
    """Prompts of one object on one image as an engine takes them.

    Args:
        prompts: in the order they were made; the latest box counts, a mask supersedes what came
            before it.
        previous: (row, column) logits of an earlier answer; they come before a mask.
    """
    box: tuple[float, float, float, float] | None = None
    points: list[Point] = []
    for prompt in prompts:
        match prompt:
            case MaskPrompt():
                box = None
                points = []
                start = torch.from_numpy(
                    np.where(prompt.mask, np.float32(GIVEN), np.float32(-GIVEN))
                )
                if previous is None:
                    previous = start
            case Box():
                box = prompt.xyxy
            case Scribble():
                points += prompt.points(CLICKS_PER_SCRIBBLE)
            case Point():
                points.append(prompt)
    xy = np.array([(point.x, point.y) for point in points], dtype=np.float64).reshape(-1, 2)
    return DecoderPrompt(
        xy, np.array([point.positive for point in points], dtype=bool), box, previous
    )


def prompted_loss(adapted: Adapted, batch: Sequence[Example], weights: Weights = USUAL) -> Terms:
    """Mean loss of prompts and corrections on the prompted frame of each example."""
    parts = []
    for example in batch:
        features = on_grid(adapted.features(example), example)
        parts.append(interactive(adapted.engine, features[example.at], example, weights))
    return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}


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
    talks = [
        _Talk(plan, list(prompts))
        for plan, prompts in zip(example.plans, example.prompts, strict=True)
    ]
    losses: list[Tensor] = []
    dice: list[float] = []
    for number in range(max(talk.plan.rounds for talk in talks)):
        going = [k for k, talk in enumerate(talks) if number < talk.plan.rounds and not talk.done]
        for members, multimask in _alike(engine, talks, going):
            hints = [hint_of(talks[k].given, talks[k].previous) for k in members]
            decoded = engine.decode(features, hints, multimask=multimask)
            loss, found, low = answer_loss(
                engine, decoded, truth[members], features.size_hw, weights
            )
            losses += list(loss)
            for row, k in enumerate(members):
                if number == 0:
                    dice.append(_dice(found[row], truth[k]))
                talks[k].go_on(number, low[row], found[row], example, k)
    device = truth.device
    return {
        "loss": torch.stack(losses).mean(),
        "dice": torch.tensor(float(np.mean(dice)), device=device),
    }


@dataclass(eq=False)
class _Talk:
    """What has been said about one object, and answered."""

    plan: Plan
    given: list[Prompt]
    previous: Tensor | None = None
    done: bool = False

    def go_on(self, number: int, low: Tensor, found: Tensor, example: Example, k: int) -> None:
        """Correct an answer: logits (row, column) of the decoder, mask (row, column) on the grid."""
        if number + 1 >= self.plan.rounds:
            return
        self.previous = low.clamp(-CLAMP, CLAMP)
        mask: NDArray[np.bool_] = found.cpu().numpy()
        truth = example.truth[k, example.at]
        more = self.plan.correct(truth[None], mask[None], example.rng, tuple(self.given), frame=0)
        self.given += more
        self.done = not more


def _alike(
    engine: Engine, talks: Sequence[_Talk], going: Sequence[int]
) -> list[tuple[list[int], bool]]:
    """Objects that are asked for one mask, and those asked for three."""
    groups: dict[bool, list[int]] = {}
    for k in going:
        hint = hint_of(talks[k].given, talks[k].previous)
        many = engine.multimask(hint.clicks, tracking=False) and hint.previous is None
        groups.setdefault(many, []).append(k)
    return [(members, many) for many, members in groups.items()]


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


def _dice(found: Tensor, truth: Tensor) -> float:
    sizes = float(found.sum() + truth.sum())
    if sizes:
        return 2 * float((found & truth).sum()) / sizes
    return 1.0


def best_of(decoded: Decoded) -> Decoded:
    """The candidate with the highest predicted IoU of each object, as a `Decoded` with M = 1."""
    rows = torch.arange(len(decoded.iou), device=decoded.iou.device)
    best = decoded.iou.argmax(1)
    tokens = decoded.tokens
    if tokens is not None and tokens.shape[1] > 1:
        tokens = tokens[rows, best][:, None]
    return replace(
        decoded,
        logits=decoded.logits[rows, best][:, None],
        iou=decoded.iou[rows, best][:, None],
        tokens=tokens,
    )
