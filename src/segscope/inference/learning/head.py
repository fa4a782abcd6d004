"""SessionHead: what examples of one label teach about an engine's features.

A ridge regression on the features of cells, and a stack of it and the network's own logits. Both
are closed form, so that equal examples give equal heads. Every example is also answered by a ridge
of the other patients' examples, or of the other images' where there is one patient: what that gains
or loses says where the head may be trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add, itemgetter

import torch
from torch import Tensor

from segscope.errors import format_count
from segscope.inference.learning.example import Example
from segscope.inference.learning.ridge import (
    WEIGHT,
    FoldSums,
    Ridge,
    StandardSums,
    Sums,
    cell_weights,
    design,
    targets,
)
from segscope.inference.learning.stack import (
    FITTED_CELLS,
    PRIOR,
    STRENGTHS,
    fit_stack,
    make_mixtures,
    mix,
)

PENALTIES = (0.3, 3.0, 30.0, 300.0)
USUAL_PENALTY = 3.0  # where nothing can be left out
MOST_FOLDS = 10


@dataclass(frozen=True, eq=False)
class SessionHead:
    """What was learned from examples of one label.

    Attributes:
        ids: of the examples, in the order in which they were accepted.
        ridge: on features and places.
        mixtures: (M, 3), see `make_mixtures`.
        own_scores: (K,) Dice of the network on each example, estimated from its sampled cells.
        scores: (K, M) the same of each candidate with the example's fold left out; NaN where
            nothing could be left out.
        means: (K, 2 channel) of the examples, see `Example.means`.
        scale: (2 channel,) spread of the features of single cells.
        longer_sides: (P,) of the boxes of the examples that are not empty, in pixels.
    """

    ids: tuple[str, ...]
    ridge: Ridge
    mixtures: Tensor
    own_scores: Tensor
    scores: Tensor
    means: Tensor
    scale: Tensor
    longer_sides: Tensor

    @property
    def note(self) -> str:
        """What users read beside a learned answer."""
        return f"learned from {format_count(len(self.ids), 'example')}"

    @property
    def gains(self) -> Tensor:
        """(K, M) left-out Dice above the network's own."""
        return self.scores - self.own_scores[:, None]

    @property
    def may_help(self) -> bool:
        """Whether any mixture gained on the examples that were left out."""
        return bool((self.gains.nanmean(0) > 0).any())

    def plain_score(self) -> float:
        """Mean Dice of the network's own masks on the examples."""
        return float(self.own_scores.nanmean())

    def left_out_score(self) -> float | None:
        """Mean Dice of the best mixture on examples that it did not learn from, or None where none
        can be left out.
        """
        means = self.scores.nanmean(0)
        if bool(means.isnan().all()):
            return None
        return float(means.max())


def fit_head(examples: Sequence[Example], known: FoldSums | None = None) -> SessionHead:
    """Learn from examples of one label and engine, of which at least one is not empty.

    Args:
        known: sums of earlier examples of the label, which save time.
    """
    folds = list_folds(examples)
    sums = (known or FoldSums()).of([[examples[i] for i in fold] for fold in folds])
    total = reduce(add, sums)
    left_out = None
    if len(folds) > 1:
        left_out = _leave_out(examples, folds, [total - part for part in sums])
    if left_out is None:
        penalty = USUAL_PENALTY
        prior = torch.tensor(PRIOR, dtype=torch.float64)
        mixtures = make_mixtures([prior, prior])
        scores = torch.full((len(examples), len(mixtures)), torch.nan, dtype=torch.float64)
    else:
        penalty, values = left_out
        mixtures = make_mixtures(_fit_stacks(examples, values))
        scores = _score_candidates(examples, mixtures, values)
    return SessionHead(
        tuple(each.id for each in examples),
        Ridge.fit(StandardSums.of(total), penalty),
        mixtures,
        torch.stack(list(map(score_network, examples))),
        scores,
        torch.stack([torch.from_numpy(each.means) for each in examples]),
        _spread_of_cells(total, examples[0]),
        torch.tensor([each.longer_side for each in examples if not each.is_empty]),
    )


# --- leaving out ---------------------------------------------------------------------------------


def list_folds(examples: Sequence[Example]) -> list[list[int]]:
    """Positions of the examples that are left out together: those of a patient; with one patient,
    those of a frame; with one frame, each by itself.

    From the eleventh on they share folds. An example of a known patient, or the one of a third or
    later patient, changes no other's fold when it comes last.
    """
    keys: list[tuple[str, int]] = [(each.source.group, 0) for each in examples]
    if len(set(keys)) == 1:
        keys = [(each.source.image, each.source.frame) for each in examples]
    if len(set(keys)) == 1:
        keys = [(each.id, 0) for each in examples]
    numbers = {key: number % MOST_FOLDS for number, key in enumerate(dict.fromkeys(keys))}
    folds: list[list[int]] = [[] for _ in range(min(len(numbers), MOST_FOLDS))]
    for position, key in enumerate(keys):
        folds[numbers[key]].append(position)
    return folds


def _leave_out(
    examples: Sequence[Example], folds: Sequence[Sequence[int]], rests: Sequence[Sums]
) -> tuple[float, list[Tensor]]:
    """The penalty with the smallest left-out error, and each example's values of the ridge that did
    not learn from its fold.

    Args:
        rests: sums of all examples but those of each fold.
    """
    features = list(map(design, examples))
    standard = list(map(StandardSums.of, rests))
    trials = []
    for penalty in PENALTIES:
        values = features.copy()
        for fold, rest in zip(folds, standard, strict=True):
            ridge = Ridge.fit(rest, penalty)
            for i in fold:
                values[i] = ridge(features[i])
        error = sum(map(_error, examples, values))
        trials.append((error, penalty, values))
    _, penalty, values = min(trials, key=itemgetter(0))
    return penalty, values


def _error(example: Example, values: Tensor) -> float:
    """Weighted squared error on an example."""
    return float(cell_weights(example) @ (values - targets(example)) ** 2)


def _fit_stacks(examples: Sequence[Example], values: Sequence[Tensor]) -> list[Tensor]:
    inside = torch.cat([targets(each) > 0 for each in examples])
    weights = torch.cat(list(map(cell_weights, examples)))
    weights = weights * (FITTED_CELLS / WEIGHT)
    own = torch.cat(list(map(own_logits, examples)))
    features = torch.stack([own, torch.cat(list(values)), torch.ones_like(own)], 1)
    return [fit_stack(features, inside, weights, strength) for strength in STRENGTHS]


# --- scores --------------------------------------------------------------------------------------


def own_logits(example: Example) -> Tensor:
    """(N,) float64 of the network."""
    return torch.from_numpy(example.logits).double()


def score_network(example: Example) -> Tensor:
    """Dice of the network's own mask, from the sampled cells."""
    return _estimate_dice(example, own_logits(example) > 0)


def _score_candidates(
    examples: Sequence[Example], mixtures: Tensor, values: Sequence[Tensor]
) -> Tensor:
    """(K, M) Dice of each candidate, cut to the box, from the sampled cells; NaN where an example
    is empty.
    """
    rows = []
    for example, ridge in zip(examples, values, strict=True):
        in_box = torch.from_numpy(example.in_box)
        masks = (mix(mixtures, own_logits(example), ridge) > 0) & in_box
        rows.append(torch.stack([_estimate_dice(example, mask) for mask in masks]))
    return torch.stack(rows)


def _estimate_dice(example: Example, mask: Tensor) -> Tensor:
    """Dice of a mask (N,) of sampled cells: each stands for the cells of its stratum."""
    if example.is_empty:
        return torch.tensor(torch.nan, dtype=torch.float64)
    strata = torch.from_numpy(example.strata).long()
    sampled = torch.bincount(strata, minlength=3).clamp(min=1)
    shares = torch.tensor(example.counts, dtype=torch.float64) / sampled
    cells = shares[strata]
    inside = strata == 0
    both = cells[mask & inside].sum()
    return 2 * both / (cells[mask].sum() + cells[inside].sum())


def _spread_of_cells(total: Sums, like: Example) -> Tensor:
    """(2 channel,) spread of the features of single cells, once for inside and once for outside."""
    channels = like.cells.shape[1]
    cells = total.products[-1, -1]
    mean = total.products[-1, :channels] / cells
    variance = total.products.diagonal()[:channels] / cells - mean**2
    spread = variance.clamp(min=1e-8).sqrt() + 1e-3
    return torch.cat([spread, spread]).float()
