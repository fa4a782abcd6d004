"""Losses of both stages. Masks are compared at half the input resolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def mask_loss(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """5 x focal (gamma 1) + Dice of each mask, and its soft Dice; (..., row, column) to (...)."""
    truth = truth.to(logits.dtype)
    cross = F.binary_cross_entropy_with_logits(logits, truth.expand_as(logits), reduction="none")
    wrong = 1 - torch.exp(-cross)
    focal = (wrong.detach() * cross).mean((-2, -1))
    probability = torch.sigmoid(logits)
    both = (probability * truth).sum((-2, -1))
    dice = (2 * both + 1) / (probability.sum((-2, -1)) + truth.sum((-2, -1)) + 1)
    return 5 * focal + 1 - dice, dice


@torch.no_grad()
def true_iou(logits: Tensor, truth: Tensor, outside: Tensor) -> Tensor:
    """IoU (O, M) of the masks with the whole object, its part outside the window counted as
    missed.
    """
    answer = logits > 0
    truth = truth[:, None]
    both = (answer & truth).sum((-2, -1)).float()
    return both / ((answer | truth).sum((-2, -1)).float() + outside[:, None]).clamp(min=1)


def round_loss(
    logits: Tensor, iou: Tensor, truth: Tensor, outside: Tensor, lone: Tensor, judged: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of a round for O objects.

    Args:
        logits: (O, 4, row, column).
        iou: (O, 4) predicted.
        truth: (O, row, column) bool.
        outside: (O,) area outside the window.
        lone: (O,) bool: a first, lone click, answered by the best of masks 1 to 3 (mask 0 learns
            the average answer).
        judged: (O,) bool: only the predicted IoU is taught; the prompt does not say what is meant.

    Returns:
        the loss, the index of the mask that the round answers with, and its Dice.
    """
    real = true_iou(logits, truth, outside)
    each, dices = mask_loss(logits, truth[:, None])
    least, which = each[:, 1:].min(1)
    several = 0.4 * each[:, 0] + 0.9 * least + 0.1 * each[:, 1:].mean(1)
    loss = torch.where(lone, several, each[:, 0])
    dice = torch.where(lone, dices[:, 1:].gather(1, which[:, None])[:, 0], dices[:, 0])
    # corrections start from the mask that would be answered: the one thought best
    best = torch.where(lone, 1 + iou[:, 1:].argmax(1), 0)
    error = (iou - real) ** 2
    chosen = error.gather(1, best[:, None])[:, 0]
    score = (torch.where(lone, 1.5, 1.0) * (0.7 * chosen + 0.3 * error.mean(1))).mean()
    gap = real[:, :, None] - real[:, None, :]
    guess = iou[:, :, None] - iou[:, None, :]
    order = (
        gap.abs() * F.softplus(-8 * guess * gap.sign()) * (gap.abs() > 0.03) * lone[:, None, None]
    )
    score = score + 0.3 * order.sum() / (16 * lone.sum()).clamp(min=1)
    taught = (loss * ~judged).sum() / (~judged).sum().clamp(min=1)
    return taught + 2 * score, best, dice.detach()
