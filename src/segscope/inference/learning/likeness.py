"""Likeness: how near a window is to each example."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from segscope.inference.learning.example import Example
from segscope.inference.learning.overlap import cells_of
from segscope.inference.learning.ridge import Sums

# weights of the squared differences beside that of the mean features; chosen with those of the
# guard, see there
AREA = 10.0
CERTAINTY = 30.0
SIZE = 0.1
FLOOR = 0.1  # of the mean variance of all features, that each one counts as more
UNIT = 1.43  # makes distances those of features standardised over windows of many data sets
STEEPEST = 30.0  # logit


@dataclass(frozen=True, eq=False)
class Descriptions:
    """What K windows are compared by.

    Attributes:
        means: (K, 2 channel) mean features inside and outside the network's own mask.
        shapes: (K, 3): share of the box that the network's mask covers, the Dice that the network
            expects of it, and the logarithm of the box's longer side in pixels; each times the root
            of its weight.
    """

    means: Tensor
    shapes: Tensor

    @classmethod
    def of_examples(cls, examples: Sequence[Example]) -> Descriptions:
        means = torch.stack([torch.from_numpy(each.means) for each in examples])
        shapes = [
            describe_shape(
                torch.from_numpy(each.logits).double(),
                cells_of(each) * torch.from_numpy(each.in_box),
                each.longer_side,
            )
            for each in examples
        ]
        return cls(means, torch.stack(shapes))


def describe_shape(own: Tensor, box_cells: Tensor, longer_side: float) -> Tensor:
    """(3,) row of `Descriptions.shapes`.

    Args:
        own: (N,) logits of the network.
        box_cells: (N,) how many cells of the box each stands for; 0 outside.
        longer_side: of the box, in pixels.
    """
    probability = torch.sigmoid(own.clamp(-STEEPEST, STEEPEST)).double()
    mask = own > 0
    covered = (box_cells * mask).sum()
    total = (box_cells * probability).sum() + covered
    certainty = 2 * (box_cells * probability * mask).sum() / total.clamp(min=1e-6)
    area = covered / box_cells.sum().clamp(min=1e-6)
    size = torch.tensor(math.log(max(longer_side, 1.0)), dtype=torch.float64)
    weights = torch.tensor([AREA, CERTAINTY, SIZE], dtype=torch.float64).sqrt()
    return torch.stack([area.cpu(), certainty.cpu(), size]) * weights


def measure_spread(sums: Sequence[Sums], channels: int) -> Tensor:
    """(2 channel,) spread of features within windows, once for inside and once for outside."""
    variances = [each.variance()[:channels] for each in sums]
    variance = torch.stack(variances).mean(0)
    spread = (variance + FLOOR * variance.mean() + 1e-12).sqrt()
    return torch.cat([spread, spread])


def feature_distances(known: Descriptions, spread: Tensor, means: Tensor) -> Tensor:
    """(K,) root mean square difference of mean features (2 channel,) to those of K windows, in
    spreads.
    """
    differences = (known.means - means) / spread
    return UNIT * differences.square().mean(1).sqrt().double()


def shape_distances(known: Descriptions, shape: Tensor) -> Tensor:
    """(K,) distance of a row of `Descriptions.shapes` to those of K windows."""
    return (known.shapes - shape).square().sum(1).sqrt()
