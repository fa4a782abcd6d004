"""Ridge regression on cells, from sums that add up over examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from segscope.inference.learning.example import Example

#: cells that one example counts as, whatever the number sampled; half of them for each side
WEIGHT = 500.0
#: times the squared weights of standardised features, for each example; chosen on validation
#: sessions, where choosing among several by leaving examples out was no better
PENALTY = 100.0
LEAST_SPREAD = 1e-3
LEAST_SHARE = 1e-4  # of a feature's mean; half floats resolve no more, and sums lose digits below


def design(example: Example) -> Tensor:
    """(N, D) float64: features and places of the sampled cells."""
    cells = torch.from_numpy(example.cells).double()
    places = torch.from_numpy(example.places).double()
    return torch.cat([cells, places], 1)


def targets(example: Example) -> Tensor:
    """(N,) float64: 1 inside, -1 outside."""
    inside = torch.from_numpy(example.strata == 0)
    return torch.where(inside, 1.0, -1.0).double()


def cell_weights(example: Example) -> Tensor:
    """(N,) float64: inside and outside count alike."""
    inside = torch.from_numpy(example.strata == 0)
    weights = torch.empty(len(inside), dtype=torch.float64)
    for side in (inside, ~inside):
        weights[side] = WEIGHT / 2 / max(int(side.sum()), 1)
    return weights


@dataclass(frozen=True, eq=False)
class Sums:
    """Weighted sums over the cells of an example.

    Attributes:
        products: (D + 1, D + 1) float32 of features, less their origin, and a constant.
        target: (D + 1,) float32 of the same, times the target.
    """

    products: Tensor
    target: Tensor

    @classmethod
    def of(cls, example: Example, origin: Tensor) -> Sums:
        """Sums of an example.

        Args:
            origin: (D,) float64 near the mean of the features, so that float32 keeps enough digits.
        """
        features = design(example) - origin
        features = torch.cat([features, features.new_ones(len(features), 1)], 1)
        weighted = features * cell_weights(example)[:, None]
        return cls((weighted.T @ features).float(), (weighted.T @ targets(example)).float())

    def variance(self) -> Tensor:
        """(D,) of each feature over the cells."""
        total = self.products[-1, -1]
        mean = self.products[-1, :-1] / total
        return (self.products.diagonal()[:-1] / total - mean**2).clamp(min=0)


def add_sums(sums: Sequence[Sums], weights: Tensor) -> Sums:
    """Sums of several examples, each times its weight (K,); float64."""
    products = torch.zeros_like(sums[0].products)
    target = torch.zeros_like(sums[0].target)
    for each, weight in zip(sums, weights.tolist(), strict=True):
        if weight:
            products.add_(each.products, alpha=weight)
            target.add_(each.target, alpha=weight)
    return Sums(products.double(), target.double())


@dataclass(frozen=True, eq=False)
class Ridge:
    """A linear function of features.

    Attributes:
        weights: (D,) float64.
        bias: constant.
    """

    weights: Tensor
    bias: float

    @classmethod
    def fit(cls, sums: Sums, origin: Tensor, penalty: float = PENALTY) -> Ridge:
        """Least squares with a penalty on the squared weights of the standardised features."""
        total = sums.products[-1, -1]
        mean = sums.products[-1, :-1] / total
        scale = sums.variance().sqrt() + LEAST_SPREAD + LEAST_SHARE * (origin + mean).abs()
        covariance = torch.addr(sums.products[:-1, :-1], mean, mean, alpha=-float(total))
        covariance.div_(scale[:, None]).div_(scale)
        covariance.diagonal().add_(penalty * total / WEIGHT)
        target = (sums.target[:-1] - mean * sums.target[-1]) / scale
        factor = torch.linalg.cholesky(covariance)
        weights = torch.cholesky_solve(target[:, None], factor)[:, 0] / scale
        bias = sums.target[-1] / total - (origin + mean) @ weights
        return cls(weights, float(bias))

    def __call__(self, features: Tensor) -> Tensor:
        """(N,) values, about 1 inside and -1 outside, for features (N, D)."""
        return features @ self.weights.to(features) + self.bias

    def of_window(self, cells: Tensor, places: Tensor) -> Tensor:
        """(CELLS,) the same for the features (CELLS, channel) and places (CELLS, place) of a
        window.
        """
        weights = self.weights.to(cells)
        channels = cells.shape[1]
        return cells @ weights[:channels] + places @ weights[channels:] + self.bias
