"""Ridge regression on cells, from sums that add up over examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from torch import Tensor

from segscope.inference.learning.example import Example

#: cells that one example counts as, whatever the number sampled; half of them for each side
WEIGHT = 500.0
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
    """Weighted sums over cells.

    Attributes:
        products: (D + 1, D + 1) float64 of features and a constant.
        target: (D + 1,) float64 of features and a constant, times the target.
    """

    products: Tensor
    target: Tensor

    @classmethod
    def of(cls, example: Example) -> Sums:
        features = design(example)
        features = torch.cat([features, features.new_ones(len(features), 1)], 1)
        weighted = features * cell_weights(example)[:, None]
        return cls(weighted.T @ features, weighted.T @ targets(example))

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.products + other.products, self.target + other.target)

    def __sub__(self, other: Sums) -> Sums:
        return Sums(self.products - other.products, self.target - other.target)


class FoldSums:
    """Sums of the folds of one label, as they were last needed: a new example is added to its fold
    instead of all examples again.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], Sums] = {}

    def of(self, folds: Sequence[Sequence[Example]]) -> list[Sums]:
        """Sums of each fold."""
        known: dict[tuple[str, ...], Sums] = {}
        for fold in folds:
            ids = tuple(each.id for each in fold)
            known[ids] = self._known.get(ids) or self._extend(ids[:-1], fold)
        self._known = known
        return list(known.values())

    def _extend(self, ids: tuple[str, ...], fold: Sequence[Example]) -> Sums:
        """Sums of a fold, from those of all but its last example where they are known."""
        before = self._known.get(ids)
        if before is None:
            return reduce(add, map(Sums.of, fold))
        return before + Sums.of(fold[-1])


@dataclass(frozen=True, eq=False)
class StandardSums:
    """Sums of features that were standardised.

    Attributes:
        mean, scale: (D,) of the features.
        covariance: (D, D) sum of products.
        target: (D,) sum of products with the target.
        offset: mean target.
        examples: how many the cells count as.
    """

    mean: Tensor
    scale: Tensor
    covariance: Tensor
    target: Tensor
    offset: float
    examples: float

    @classmethod
    def of(cls, sums: Sums) -> StandardSums:
        total = sums.products[-1, -1]
        mean = sums.products[-1, :-1] / total
        variance = (sums.products.diagonal()[:-1] / total - mean**2).clamp(min=1e-8)
        scale = variance.sqrt() + LEAST_SPREAD + LEAST_SHARE * mean.abs()
        covariance = sums.products[:-1, :-1] - total * torch.outer(mean, mean)
        target = (sums.target[:-1] - mean * sums.target[-1]) / scale
        return cls(
            mean,
            scale,
            covariance / torch.outer(scale, scale),
            target,
            float(sums.target[-1] / total),
            float(total) / WEIGHT,
        )


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
    def fit(cls, sums: StandardSums, penalty: float) -> Ridge:
        """Least squares with `penalty` times the squared weights of the standardised features, for
        each example.
        """
        regular = sums.covariance.clone()
        regular.diagonal().add_(penalty * sums.examples)
        factor = torch.linalg.cholesky(regular)
        standard = torch.cholesky_solve(sums.target[:, None], factor)[:, 0]
        weights = standard / sums.scale
        return cls(weights, sums.offset - float(sums.mean @ weights))

    def __call__(self, features: Tensor) -> Tensor:
        """(N,) values, about 1 inside and -1 outside, for features (N, D)."""
        return features @ self.weights.to(features) + self.bias
