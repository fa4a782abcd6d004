"""Stack: the network's logits and the ridge's values together, in several ways."""

from __future__ import annotations

import torch
from torch import Tensor

PRIOR = (0.7, 2.0, 0.0)
"""Weights of the network's logit, of the ridge's value, and the constant, without examples."""
STRENGTHS = (5.0, 0.3)  # with which the two fitted stacks stay near the prior
SHARES = (0.5, 1.0, 2.0, 4.0, 8.0)  # of the ridge's value that are added to the network's logit
FITTED_CELLS = 50.0  # that one example counts as
STEPS = 12


def fit_stack(features: Tensor, inside: Tensor, weights: Tensor, strength: float) -> Tensor:
    """(3,) weights of a logistic regression with a normal prior, by Newton's method.

    Args:
        features: (N, 3) network's logit, ridge's value, 1.
        inside: (N,) bool.
        weights: (N,) that add up to the cells that count.
        strength: precision of the prior.
    """
    prior = torch.tensor(PRIOR, dtype=torch.float64)
    theta = prior.clone()
    target = inside.double()
    for _ in range(STEPS):
        probability = torch.sigmoid((features @ theta).clamp(-30, 30))
        gradient = features.T @ (weights * (probability - target)) + strength * (theta - prior)
        spread = weights * probability * (1 - probability)
        curvature = (features * spread[:, None]).T @ features
        curvature.diagonal().add_(strength)
        step = torch.linalg.solve(curvature, gradient)
        theta = theta - step
        if float(step.abs().max()) < 1e-4:
            break
    return theta


def make_mixtures(stacks: list[Tensor]) -> Tensor:
    """(M, 3) weights of network's logit, ridge's value and constant in each candidate: the fitted
    stacks, sums with growing shares of the ridge, and the ridge alone.
    """
    sums = [torch.tensor([1.0, share, 0.0], dtype=torch.float64) for share in SHARES]
    alone = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    return torch.stack([*stacks, *sums, alone])


def mix(mixtures: Tensor, own: Tensor, ridge: Tensor) -> Tensor:
    """(M, N) logits of the candidates from those of the network (N,) and the ridge's values
    (N,).
    """
    weights = mixtures.to(own)
    return weights[:, :1] * own + weights[:, 1:2] * ridge.to(own) + weights[:, 2:]
