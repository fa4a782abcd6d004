"""Overlap of masks of cells that stand for more cells than one."""

from __future__ import annotations

import torch
from torch import Tensor

from segscope.inference.learning.example import Example


def dice(masks: Tensor, other: Tensor, weights: Tensor) -> Tensor:
    """(M,) Dice of masks (M, N) and another one (N,), all bool; 1 where both are empty.

    Args:
        weights: (N,) how many cells each stands for.
    """
    both = (weights * (masks & other)).sum(-1)
    total = (weights * masks).sum(-1) + (weights * other).sum()
    return torch.where(total > 0, 2 * both / total.clamp(min=1e-9), 1.0)


def cells_of(example: Example) -> Tensor:
    """(N,) float64: how many cells of its window each sampled cell of an example stands for."""
    strata = torch.from_numpy(example.strata).long()
    sampled = torch.bincount(strata, minlength=3).clamp(min=1)
    shares = torch.tensor(example.counts, dtype=torch.float64) / sampled
    return shares[strata]
