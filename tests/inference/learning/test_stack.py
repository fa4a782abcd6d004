from __future__ import annotations

import pytest
import torch

from segscope.inference.learning.stack import PRIOR, fit_stack, make_mixtures, mix


def draw_cells(seed: int = 0, count: int = 400) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features (network, ridge, 1), what is inside, and weights of cells."""
    generator = torch.Generator().manual_seed(seed)
    inside = torch.rand(count, generator=generator) > 0.5
    sign = torch.where(inside, 1.0, -1.0).double()
    noise = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    own = 0.3 * sign + noise[:, 0]
    ridge = 0.8 * sign + 0.5 * noise[:, 1]
    weights = torch.full((count,), 100.0 / count, dtype=torch.float64)
    return torch.stack([own, ridge, torch.ones_like(own)], 1), inside, weights


def measure_loss(
    theta: torch.Tensor,
    features: torch.Tensor,
    inside: torch.Tensor,
    weights: torch.Tensor,
    strength: float,
) -> torch.Tensor:
    logits = features @ theta
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, inside.double(), reduction="none"
    )
    distance = theta - torch.tensor(PRIOR, dtype=torch.float64)
    return (weights * loss).sum() + strength / 2 * distance.square().sum()


@pytest.mark.parametrize("strength", [5.0, 0.3])
def test_the_stack_is_the_minimum_of_its_loss(strength: float) -> None:
    features, inside, weights = draw_cells()
    theta = fit_stack(features, inside, weights, strength).requires_grad_()
    loss = measure_loss(theta, features, inside, weights, strength)
    (gradient,) = torch.autograd.grad(loss, theta)
    assert float(gradient.abs().max()) < 1e-3
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        step = 0.1 * torch.randn(3, generator=generator, dtype=torch.float64)
        other = measure_loss(theta + step, features, inside, weights, strength)
        assert other.item() > loss.item()


def test_a_strong_prior_stays_and_a_weak_one_follows_the_cells() -> None:
    features, inside, weights = draw_cells()
    prior = torch.tensor(PRIOR, dtype=torch.float64)
    assert torch.allclose(fit_stack(features, inside, weights, 1e6), prior, atol=1e-3)
    weak = fit_stack(features, ~inside, weights, 0.1)
    assert float(weak[1]) < 0


def test_logits_that_separate_perfectly_or_are_huge_stay_finite() -> None:
    _, inside, weights = draw_cells()
    sign = torch.where(inside, 1.0, -1.0).double()
    ones = torch.ones_like(sign)
    for features in (
        torch.stack([sign * 1e3, sign, ones], 1),
        torch.stack([-sign * 1e3, sign, ones], 1),
        torch.stack([ones * -1024, sign, ones], 1),
    ):
        assert bool(fit_stack(features, inside, weights, 0.3).isfinite().all())


def test_mixtures_hold_sums_and_the_ridge_alone() -> None:
    mixtures = make_mixtures([torch.tensor(PRIOR, dtype=torch.float64)])
    own = torch.tensor([1.0, -2.0])
    ridge = torch.tensor([0.5, 4.0])
    mixed = mix(mixtures, own, ridge)
    assert mixed.shape == (len(mixtures), 2)
    assert torch.allclose(mixed[0], PRIOR[0] * own + PRIOR[1] * ridge)
    assert torch.allclose(mixed[1], own + 0.5 * ridge)
    assert torch.allclose(mixed[-1], ridge)
