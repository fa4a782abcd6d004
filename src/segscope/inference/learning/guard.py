"""Guard: whether, and in which mixture, a session head is expected to help on a new window.

Examples like the window count most. What the mixtures gained on them when they were left out,
shrunk towards a small loss, less a multiple of its uncertainty, is what can be expected.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from segscope.inference.learning.head import SessionHead

# chosen on validation sessions of one class, of several conventions for one object, and of mixed
# classes; see benchmarks/learning.py
REACH = 0.8  # distance at which an example counts 1/e
SHRINKAGE = 0.3  # examples that the prior loss counts as
PRIOR_LOSS = 0.005  # Dice
CAUTION = 1.5  # standard errors
PRIOR_SPREAD = 0.03  # Dice


@dataclass(frozen=True, slots=True)
class GuardRule:
    """What is asked of a learned answer before it takes the place of the plain one.

    Attributes:
        mixtures: how many of the first mixtures take part; None for all.
        least_gain: Dice that must be expected above the plain answer's.
        farthest: distance to the nearest example from which on the plain answer stays.
    """

    mixtures: int | None = None
    least_gain: float = 0.0
    farthest: float = math.inf


PROMPTED = GuardRule()
# the network is told more on a tracked frame than by a box, from which the gains are estimated;
# chosen on validation volumes and videos
TRACKED = GuardRule(mixtures=1, least_gain=0.04, farthest=0.55)


@dataclass(frozen=True, slots=True)
class Choice:
    """The mixture that is expected to help most.

    Attributes:
        mixture: its row in `SessionHead.mixtures`.
        gain: expected Dice above the plain answer's, with caution.
    """

    mixture: int
    gain: float


def choose_mixture(head: SessionHead, means: Tensor, rule: GuardRule = PROMPTED) -> Choice | None:
    """The mixture to use for a window, or None for the plain answer.

    Args:
        means: (2 channel,) of the window, see `Example.means`.
        rule: what is asked of it.
    """
    gains = expect_gains(head, means)[: rule.mixtures]
    best = int(gains.argmax())
    gain = float(gains[best])
    if not gain > rule.least_gain:
        return None
    if float(measure_distances(head, means).min()) > rule.farthest:
        return None
    return Choice(best, gain)


def can_help(head: SessionHead, rule: GuardRule) -> bool:
    """Whether there is a window for which `choose_mixture` may choose one: no window is expected to
    gain more than the example that gained most.
    """
    return bool((head.gains[:, : rule.mixtures] > rule.least_gain).any())


def expect_gains(head: SessionHead, means: Tensor) -> Tensor:
    """(M,) expected gain of each mixture; -1 where no example says anything."""
    gains = head.gains
    known = ~gains.isnan().any(1)
    if not bool(known.any()):
        return torch.full((len(head.mixtures),), -1.0)
    gains = gains[known]
    weights = torch.exp(-((measure_distances(head, means)[known] / REACH) ** 2)).double()
    total = weights.sum()
    expected = (weights @ gains - SHRINKAGE * PRIOR_LOSS) / (total + SHRINKAGE)
    spread = weights @ (gains - gains.mean(0)) ** 2 + SHRINKAGE * PRIOR_SPREAD**2
    error = (spread / (total + SHRINKAGE)).sqrt() / (total + 0.5).sqrt()
    return expected - CAUTION * error


def measure_distances(head: SessionHead, means: Tensor) -> Tensor:
    """(K,) distance of a window to each example: root mean square of the differences between mean
    features inside and outside, in spreads of single cells.
    """
    differences = (head.means - means) / head.scale
    return differences.square().mean(1).sqrt()
