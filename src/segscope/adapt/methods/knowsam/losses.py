"""Losses and mixing of KnowSAM, for any teacher and any students: from logits to one loss per
image.

arXiv 2412.13742, section 3. The public code is wrong for more than two classes: distillation and
entropy use two columns, consistency uses the last class only, and that of the second student has no
gradient. Here the formulas of the paper are computed.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from segscope.adapt.methods.knowsam.students import entropy

SMOOTH = 1e-5


def supervised(logits: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy + Dice with squares in the denominator, mean over all classes with background.

    The public code sums Dice over a batch; here each image has its own, so that a batch can be
    split.

    Args:
        logits: (B, class, row, column).
        classes: (B, row, column) numbers.

    Returns:
        (B,) losses.
    """
    logits = logits.float()
    cross = F.cross_entropy(logits, classes, reduction="none").mean((-2, -1))
    shares = logits.softmax(1)
    truth = F.one_hot(classes, logits.shape[1]).movedim(-1, 1).to(shares)
    both = (shares * truth).sum((-2, -1))
    sizes = (shares**2).sum((-2, -1)) + truth.sum((-2, -1))
    return cross + 1 - ((2 * both + SMOOTH) / (sizes + SMOOTH)).mean(1)


def distil(
    student: Tensor, teacher: Tensor, temperature: float = 10.0, *, confidence: bool = False
) -> Tensor:
    """Divergence of a student's softened probabilities from a teacher's, which get no gradient.

    Args:
        student, teacher: logits (B, class, row, column).
        temperature: T; logits are divided by it and the loss is multiplied by its square.
        confidence: weight pixels by the confidence of the teacher, 1 - entropy / ln classes.

    Returns:
        (B,) losses, 0 for equal logits.
    """
    student = student.float()
    teacher = teacher.detach().float()
    source = F.log_softmax(student / temperature, 1)
    target = F.log_softmax(teacher / temperature, 1)
    each = temperature**2 * F.kl_div(source, target, reduction="none", log_target=True).sum(1)
    if confidence:
        each = each * (1 - entropy(teacher.softmax(1)) / math.log(teacher.shape[1]))
    return each.mean((-2, -1))


def mean_entropy(logits: Tensor) -> Tensor:
    """(B,) mean entropy of pixels, 0 (certain) to 1 (all classes equally likely), of logits (B,
    class, row, column).
    """
    return entropy(logits.float().softmax(1)).mean((-2, -1)) / math.log(logits.shape[1])


def consistency(logits: Tensor, other: Tensor) -> Tensor:
    """(B,) cross-entropy between each class's probability and that of another student, which gets
    no gradient.
    """
    shares = logits.float().softmax(1).clamp(1e-6, 1 - 1e-6)
    target = other.detach().float().softmax(1)
    # written out, because torch does not allow this loss on probabilities under autocast
    cross = -(target * shares.log() + (1 - target) * torch.log1p(-shares))
    return cross.mean((1, 2, 3))


def ramp_up(iteration: float, length: int = 50_000, steps: int = 200) -> float:
    """Weight of consistency, 0.007 to 1: exp(-5 (1 - e)^2), e the share of `length` in `steps`
    steps.
    """
    done = min(int(iteration * steps / length), steps) / steps
    return math.exp(-5 * (1 - done) ** 2)


def certain_cells(entropies: Tensor, cells: int = 4, count: int = 5) -> Tensor:
    """The most certain cells of a grid over each image.

    Args:
        entropies: (B, row, column) entropy of pixels.
        cells: rows and columns of the grid.
        count: how many cells.

    Returns:
        (B, row, column) bool, true inside these cells.
    """
    means = F.adaptive_avg_pool2d(entropies[:, None], cells).flatten(1)
    chosen = torch.zeros_like(means, dtype=torch.bool)
    chosen.scatter_(1, means.topk(count, dim=1, largest=False).indices, True)
    grid = chosen.view(-1, 1, cells, cells).float()
    return F.interpolate(grid, entropies.shape[-2:], mode="nearest")[:, 0] > 0


def swap_cells(
    inside: Tensor,
    images: Tensor,
    classes: Tensor,
    others: Tensor,
    their_classes: Tensor,
) -> tuple[Tensor, Tensor]:
    """Images and class maps with some cells replaced by those of others: easy ones are replaced,
    hard ones stay.

    Args:
        inside: (B, row, column) bool, true where they are replaced.
        images, others: (B, channel, row, column).
        classes, their_classes: (B, row, column).
    """
    return torch.where(inside[:, None], others, images), torch.where(inside, their_classes, classes)
