"""Losses that methods share: masks, predicted IoU, presence, classes. Float32 whatever the network
computes in.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def bce(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean cross-entropy of each mask; (..., row, column) to (...)."""
    logits = logits.float()
    return F.binary_cross_entropy_with_logits(
        logits, truth.to(logits).expand_as(logits), reduction="none"
    ).mean((-2, -1))


def focal(logits: Tensor, truth: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Mean focal loss (arXiv 1708.02002) of each mask; (..., row, column) to (...). alpha below 0:
    no weighting.
    """
    logits = logits.float()
    truth = truth.to(logits).expand_as(logits)
    cross = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    wrong = -torch.expm1(-cross)  # 1 - p of the true side
    weight = alpha * truth + (1 - alpha) * (1 - truth) if alpha >= 0 else 1.0
    return (weight * wrong**gamma * cross).mean((-2, -1))


def dice_loss(
    logits: Tensor, truth: Tensor, *, squared: bool = False, smooth: float = 1.0
) -> Tensor:
    """1 - soft Dice of each mask; (..., row, column) to (...). `squared`: squares in the
    denominator.
    """
    logits = logits.float()
    truth = truth.to(logits).expand_as(logits)
    inside = logits.sigmoid()
    both = (inside * truth).sum((-2, -1))
    sizes = (inside**2 if squared else inside).sum((-2, -1)) + truth.sum((-2, -1))
    return 1 - (2 * both + smooth) / (sizes + smooth)


def mask_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy + Dice of each mask, MedSAM's choice; (..., row, column) to (...)."""
    return bce(logits, truth) + dice_loss(logits, truth)


@torch.no_grad()
def true_iou(logits: Tensor, truth: Tensor) -> Tensor:
    """IoU of each thresholded mask with the truth; (..., row, column) to (...)."""
    masks = logits > 0
    truth = truth.bool()
    both = (masks & truth).sum((-2, -1)).float()
    return both / (masks | truth).sum((-2, -1)).float().clamp(min=1)


def iou_loss(predicted: Tensor, logits: Tensor, truth: Tensor) -> Tensor:
    """Squared error of the predicted IoU of each mask; (...) as `predicted`."""
    return (predicted.float() - true_iou(logits, truth)) ** 2


def presence_loss(score: Tensor, here: Tensor) -> Tensor:
    """Cross-entropy of "the object is here" for each object; logits (O,) and bool (O,) to (O,)."""
    return F.binary_cross_entropy_with_logits(score.float(), here.float(), reduction="none")


def class_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy + mean Dice of the classes that an image holds or claims.

    Args:
        logits: (B, C + 1, row, column).
        classes: (B, row, column) numbers of classes, 0 for background; -1 is left out.

    Returns:
        (B,) losses.
    """
    logits = logits.float()
    known = classes >= 0
    cross = F.cross_entropy(logits, classes.long(), ignore_index=-1, reduction="none").flatten(1)
    cross = cross.sum(1) / known.flatten(1).sum(1).clamp(min=1)
    shares = logits.softmax(1)[:, 1:] * known[:, None]
    truth = torch.stack([classes == k for k in range(1, logits.shape[1])], 1).to(shares)
    both = (shares * truth).sum((-2, -1))
    sizes = shares.sum((-2, -1)) + truth.sum((-2, -1))
    return cross + (1 - (2 * both + 1) / (sizes + 1)).mean(1)
