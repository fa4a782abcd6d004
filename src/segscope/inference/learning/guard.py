"""Guard: whether, and with which candidate, a session head is expected to help on a new window.

The head answers only where similar examples, each judged by a head that did not learn from it,
gained more than a share of the part of the mask that it wants to change. A window unlike every
example, or a change much larger than those that the examples vouch for, gets the plain answer.

Constants were chosen on validation sessions of one class, of several conventions for one object,
and of mixed classes; `benchmarks/learning.py` draws such sessions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from segscope.inference.learning.candidates import add_up
from segscope.inference.learning.head import SessionHead
from segscope.inference.learning.likeness import (
    describe_shape,
    feature_distances,
    shape_distances,
)
from segscope.inference.learning.overlap import dice
from segscope.inference.learning.window import HeadWindow, describe_cells

NEAR = 0.8  # distance at which an example counts 1/e
SHRINKAGE = 0.3  # examples without gain that are added to those near the window
PRICE = 0.15  # Dice that has to be gained for each unit of change
SURPRISE = 0.5  # the same, for change beyond what is usual by more than SLACK
SLACK = 0.1


@dataclass(frozen=True, slots=True)
class GuardRule:
    """What is asked of a learned answer before it takes the place of the plain one.

    Attributes:
        least_gain: Dice, less the price of the change, that must be expected.
        farthest: distance to the nearest example from which on the plain answer stays.
        by_shape: whether the shape of the network's own mask counts in distances; examples know it
            for a box alone.
    """

    least_gain: float = 0.0
    farthest: float = 0.9
    by_shape: bool = True


PROMPTED = GuardRule()
# the network is told more on a tracked frame than by a box, from which the gains are estimated;
# chosen on validation volumes and videos
TRACKED = GuardRule(least_gain=0.04, farthest=1.1, by_shape=False)


@dataclass(frozen=True, eq=False)
class LearnedLogits:
    """The candidate that is expected to help most.

    Attributes:
        logits: of it, (CELLS,) or on a finer grid.
        gain: expected Dice above the plain answer's.
    """

    logits: Tensor
    gain: float


def answer_window(
    head: SessionHead,
    window: HeadWindow,
    cells: Tensor,
    own: Tensor,
    rule: GuardRule = PROMPTED,
) -> LearnedLogits | None:
    """The learned answer in a window, or None where the plain one is expected to be as good.

    Args:
        window: of the object.
        cells: (CELLS, channel) features.
        own: (CELLS,) logits of the network.
        rule: what is asked of the answer.
    """
    in_box = window.in_box().to(own.device)
    means = describe_cells(cells, own, window).cpu()
    x0, y0, x1, y1 = window.box
    shape = describe_shape(own, in_box.double(), max(x1 - x0, y1 - y0))
    features_apart = feature_distances(head.descriptions, head.spread, means)
    squares = features_apart**2
    if rule.by_shape:
        squares = squares + shape_distances(head.descriptions, shape) ** 2
    known = ~head.gains.isnan().any(1)
    if not bool(known.any()) or not float(squares[known].min()) < rule.farthest**2:
        return None
    local = head.local_ridge(features_apart)
    places = window.places().to(cells.device)
    candidates = add_up(own, head.whole.of_window(cells, places), local.of_window(cells, places))
    masks = (candidates > 0) & in_box
    changes = 1 - dice(masks, own > 0, torch.ones_like(own)).double().cpu()
    gains = expect_gains(head, squares, changes)
    best = int(gains.argmax())
    if not float(gains[best]) > rule.least_gain:
        return None
    return LearnedLogits(candidates[best], float(gains[best]))


def can_help(head: SessionHead, rule: GuardRule = PROMPTED) -> bool:
    """Whether there is a window that may get a learned answer: none is expected to gain more than
    the example that gained most.
    """
    return bool((head.gains > rule.least_gain).any())


def expect_gains(head: SessionHead, squares: Tensor, changes: Tensor) -> Tensor:
    """(CANDIDATES,) Dice that each candidate is expected to gain, less the price of its change.

    Args:
        squares: (K,) squared distances of the window to the examples.
        changes: (CANDIDATES,) 1 less the Dice of each candidate and the network's mask.
    """
    known = ~head.gains.isnan().any(1)
    weights = torch.exp(-squares[known] / NEAR**2)
    total = weights.sum()
    gains = (weights @ head.gains[known]) / (total + SHRINKAGE)
    usual = (weights @ head.changes[known]) / total.clamp(min=1e-12)
    surprise = (changes - usual - SLACK).clamp(min=0)
    return gains - PRICE * changes - SURPRISE * surprise
