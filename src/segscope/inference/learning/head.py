"""SessionHead: what examples of one label teach about an engine's features.

Ridge regressions on the features of cells: one of all examples, and for each window one in which
examples like it count more. Both are closed form, so that equal examples give equal heads. Every
example is also answered by ridges of the other patients' examples, or of the other images' where
there is one patient: what that gains or loses says where the head may be trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from segscope.inference.learning.candidates import CANDIDATES, add_up
from segscope.inference.learning.example import Example
from segscope.inference.learning.likeness import (
    Descriptions,
    feature_distances,
    measure_spread,
)
from segscope.inference.learning.notes import note_learned
from segscope.inference.learning.overlap import cells_of, dice
from segscope.inference.learning.ridge import Ridge, Sums, add_sums, design

MOST_FOLDS = 10
REACH = 0.5  # feature distance at which an example counts 1/e in a local ridge
LEAST_WEIGHT = 0.02  # of an example that takes part in a local ridge


class KnownSums:
    """Sums of the examples of one label, as they were last needed: a new example costs one sum."""

    def __init__(self) -> None:
        self._origin: Tensor | None = None
        self._known: dict[str, Sums] = {}

    def of(self, examples: Sequence[Example], origin: Tensor) -> list[Sums]:
        if self._origin is None or not torch.equal(self._origin, origin):
            self._known = {}
        known = {each.id: self._known.get(each.id) or Sums.of(each, origin) for each in examples}
        self._origin = origin
        self._known = known
        return [known[each.id] for each in examples]


@dataclass(frozen=True, eq=False)
class SessionHead:
    """What was learned from K examples of one label.

    Attributes:
        ids: of the examples, in the order in which they were accepted.
        origin: (D,) float64 from which features are counted in the sums.
        sums: of each example.
        whole: ridge of all examples.
        descriptions: of the examples.
        spread: (2 channel,) of the features within windows.
        plain_scores: (K,) Dice of the network on each example; NaN where it is empty. This and
            what follows is estimated from sampled cells.
        gains: (K, CANDIDATES) Dice above that of each candidate, with the example's fold left out;
            NaN where nothing can be left out.
        changes: (K, CANDIDATES) 1 less the Dice of each of those candidates and the network's mask.
        longer_sides: (P,) of the boxes of the examples that are not empty, in pixels.
    """

    ids: tuple[str, ...]
    origin: Tensor
    sums: Sequence[Sums]
    whole: Ridge
    descriptions: Descriptions
    spread: Tensor
    plain_scores: Tensor
    gains: Tensor
    changes: Tensor
    longer_sides: Tensor

    @property
    def note(self) -> str:
        """What users read beside a learned answer."""
        return note_learned(len(self.ids))

    def plain_score(self) -> float:
        """Mean Dice of the network's own masks on the examples."""
        return float(self.plain_scores.nanmean())

    def left_out_score(self) -> float | None:
        """Mean Dice of the best candidate on examples that it did not learn from, or None where
        none can be left out.
        """
        means = self.gains.nanmean(0)
        if bool(means.isnan().all()):
            return None
        return self.plain_score() + float(means.max())

    def local_ridge(self, distances: Tensor) -> Ridge:
        """The ridge in which examples count by their feature distances (K,) to a window."""
        return Ridge.fit(add_sums(self.sums, weigh_examples(distances)), self.origin)


def weigh_examples(distances: Tensor) -> Tensor:
    """(K,) weights of examples in a local ridge: 1 for the nearest."""
    squares = distances**2
    weights = torch.exp(-(squares - squares.min()) / REACH**2)
    return torch.where(weights < LEAST_WEIGHT, 0.0, weights)


def fit_head(examples: Sequence[Example], known: KnownSums | None = None) -> SessionHead:
    """Learn from examples of one label and engine, of which at least one is not empty.

    Args:
        known: sums of earlier examples of the label, which save time.
    """
    origin = design(examples[0]).mean(0)
    sums = (known or KnownSums()).of(examples, origin)
    descriptions = Descriptions.of_examples(examples)
    spread = measure_spread(sums, examples[0].cells.shape[1])
    left_out = _LeftOut(examples, sums, origin, descriptions, spread)
    gains, changes = left_out.compare()
    return SessionHead(
        tuple(each.id for each in examples),
        origin,
        sums,
        Ridge.fit(add_sums(sums, torch.ones(len(sums))), origin),
        descriptions,
        spread,
        torch.stack(list(map(score_network, examples))),
        gains,
        changes,
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


@dataclass(frozen=True, eq=False)
class _LeftOut:
    """Answers to examples by ridges that did not learn from their fold; see `SessionHead`."""

    examples: Sequence[Example]
    sums: Sequence[Sums]
    origin: Tensor
    descriptions: Descriptions
    spread: Tensor

    def compare(self) -> tuple[Tensor, Tensor]:
        """Gains and changes (K, CANDIDATES); NaN where nothing can be left out, and for empty
        examples.
        """
        count = len(self.examples)
        gains = torch.full((count, CANDIDATES), torch.nan, dtype=torch.float64)
        changes = gains.clone()
        folds = list_folds(self.examples)
        if len(folds) == 1:
            return gains, changes
        for fold in folds:
            others = torch.ones(count)
            others[fold] = 0
            whole = Ridge.fit(add_sums(self.sums, others), self.origin)
            for position in fold:
                if not self.examples[position].is_empty:
                    gains[position], changes[position] = self._compare(position, others, whole)
        return gains, changes

    def _compare(self, position: int, others: Tensor, whole: Ridge) -> tuple[Tensor, Tensor]:
        """Gains and changes (CANDIDATES,) of one example.

        Args:
            others: (K,) 1 for the examples to learn from, else 0.
            whole: their ridge.
        """
        example = self.examples[position]
        distances = feature_distances(
            self.descriptions, self.spread, self.descriptions.means[position]
        )
        distances = torch.where(others > 0, distances, torch.inf)
        local = Ridge.fit(add_sums(self.sums, weigh_examples(distances)), self.origin)
        features = design(example)
        own = own_logits(example)
        in_box = torch.from_numpy(example.in_box)
        masks = (add_up(own, whole(features), local(features)) > 0) & in_box
        cells = cells_of(example)
        truth = torch.from_numpy(example.strata == 0)
        gains = dice(masks, truth, cells) - score_network(example)
        return gains, 1 - dice(masks, own > 0, cells)


def own_logits(example: Example) -> Tensor:
    """(N,) float64 of the network."""
    return torch.from_numpy(example.logits).double()


def score_network(example: Example) -> Tensor:
    """Dice of the network's own mask, from the sampled cells; NaN for an empty example."""
    if example.is_empty:
        return torch.tensor(torch.nan, dtype=torch.float64)
    truth = torch.from_numpy(example.strata == 0)
    return dice((own_logits(example) > 0)[None], truth, cells_of(example))[0]
