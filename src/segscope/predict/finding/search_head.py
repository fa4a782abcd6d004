"""SearchHead: for every cell, whether it lies in an object of the label, and in which direction the
object's centre is.

Ridge regressions on the features of cells. What is not marked may well be an object: cells outside
the marks count as background only while they do not look like objects (learning from positive and
unlabelled examples, in three rounds).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segscope.inference.learning.ridge import WEIGHT, Ridge, Sums
from segscope.predict.finding.grid import LONGER_SIDE
from segscope.predict.finding.lesson import AROUND, INSIDE, OUTSIDE, UNKNOWN, Lesson

# chosen on training images of nuclei, embryos, chloroplasts and histology
OBJECT_PENALTY = 10 * WEIGHT
CENTRE_PENALTY = 3 * WEIGHT
ROUNDS = 3
UNKNOWN_SHARE = 0.2  # of the weight of the background
OUTSIDE_SHARE = 0.5
MOST_LIKE = {AROUND: 0.5, UNKNOWN: 0.0}  # values above which cells no longer count as background
THRESHOLDS = 33
VOTE_SPREAD = 0.08 * LONGER_SIDE  # cells, of the kernel that sums up votes for a centre
LEAST_AREA_SPREAD = 0.25  # of the logarithm of areas


@dataclass(frozen=True, eq=False)
class SearchHead:
    """What lessons teach about the objects of one label.

    Attributes:
        weights: (channel, 3) of object, rows to the centre, columns to the centre.
        biases: (3,) with which an object is positive.
        scale: mean value of the object in the examples.
        votes: density of votes at the centre of a typical example.
        log_area: mean logarithm of the examples' areas in cells.
        area_spread: its standard deviation.
    """

    weights: Tensor
    biases: Tensor
    scale: float
    votes: float
    log_area: float
    area_spread: float


def fit_search_head(lessons: Sequence[Lesson]) -> SearchHead:
    """Learn from lessons of one label and engine, of which at least one has an object."""
    cells = torch.from_numpy(np.concatenate([each.cells for each in lessons])).float()
    origin = cells.mean(0)
    cells = cells - origin  # single precision is enough for products of features around 0
    kinds = np.concatenate([each.kinds for each in lessons])
    inside = torch.from_numpy(kinds == INSIDE)
    weights = _object_weights(lessons)
    ridge = _fit_objects(cells, kinds, weights)
    values = ridge(cells)
    threshold = _choose_threshold(values, kinds)
    centres = [_offsets(lessons, axis) for axis in (0, 1)]
    fitted = [_fit_offset(cells[inside], weights, offsets) for offsets in centres]
    areas = np.concatenate([each.areas for each in lessons])
    log_areas = np.log(areas[areas > 0])
    spread = float(log_areas.std(ddof=1)) if len(log_areas) > 1 else LEAST_AREA_SPREAD
    ridges = [ridge, *fitted]
    weights_of_cells = torch.stack([each.weights for each in ridges], 1).float()
    biases = torch.tensor([ridge.bias - threshold, *(each.bias for each in fitted)])
    typical = float((values[inside].double() * weights).sum())
    return SearchHead(
        weights_of_cells,
        biases - origin @ weights_of_cells,
        max(typical - threshold, 1e-3),
        _measure_votes(lessons, cells[inside], fitted),
        float(log_areas.mean()),
        max(spread, LEAST_AREA_SPREAD),
    )


def _object_weights(lessons: Sequence[Lesson]) -> Tensor:
    """(inside,) float64, for cells inside objects: objects count alike, and 1 together."""
    parts = []
    for lesson in lessons:
        owners = lesson.objects[lesson.kinds == INSIDE]
        parts.append(1 / np.bincount(owners, minlength=1)[owners])
    weights = torch.from_numpy(np.concatenate(parts)).double()
    return weights / weights.sum()


def _fit_objects(cells: Tensor, kinds: NDArray[np.uint8], object_weights: Tensor) -> Ridge:
    targets = torch.where(torch.from_numpy(kinds == INSIDE), 1.0, -1.0)
    counted = np.ones(len(kinds), bool)
    share = 0.3 * UNKNOWN_SHARE  # less, as long as objects among them have not been dropped
    for step in range(ROUNDS):
        weights = torch.from_numpy(_background_weights(kinds, counted, share))
        weights[torch.from_numpy(kinds == INSIDE)] = object_weights
        ridge = _fit_ridge(cells, targets, weights, OBJECT_PENALTY)
        if step == ROUNDS - 1:
            break
        values = ridge(cells).numpy()
        for kind, most in MOST_LIKE.items():
            counted[kinds == kind] = values[kinds == kind] < most
        share = UNKNOWN_SHARE
    return ridge


def _background_weights(
    kinds: NDArray[np.uint8], counted: NDArray[np.bool_], unknown: float
) -> NDArray[np.float64]:
    """(N,) weights of cells outside objects, which add up to 1."""
    shares = {AROUND: 1 - unknown, UNKNOWN: unknown, OUTSIDE: OUTSIDE_SHARE}
    weights = np.zeros(len(kinds))
    for kind, share in shares.items():
        chosen = (kinds == kind) & counted
        if chosen.any():
            weights[chosen] = share / chosen.sum()
    return weights / max(weights.sum(), 1e-9)


def _fit_ridge(cells: Tensor, targets: Tensor, weights: Tensor, penalty: float) -> Ridge:
    """A ridge on cells around 0 whose weights together count as one example."""
    weights = weights * (WEIGHT / weights.sum())
    used = weights > 0
    features = torch.cat([cells[used], torch.ones(int(used.sum()), 1)], 1)
    weighted = features * weights[used, None].float()
    products = weighted.T @ features
    target = weighted.T @ targets[used].float()
    origin = torch.zeros(cells.shape[1], dtype=torch.float64)
    return Ridge.fit(Sums(products.double(), target.double()), origin, penalty)


def _choose_threshold(values: Tensor, kinds: NDArray[np.uint8]) -> float:
    """The threshold with the highest Dice in and around the examples."""
    inside = values[torch.from_numpy(kinds == INSIDE)]
    around = values[torch.from_numpy(kinds == AROUND)]
    if not len(around):
        around = values[torch.from_numpy(kinds != INSIDE)]
    both = torch.cat([inside, around])
    shares = torch.linspace(0.1, 0.9, THRESHOLDS)
    thresholds = torch.quantile(both[:: max(1, len(both) // 100_000)], shares)
    hits = (inside[None] > thresholds[:, None]).sum(1)
    found = (both[None] > thresholds[:, None]).sum(1)
    dice = 2 * hits / (found + len(inside)).clamp(min=1)
    return float(thresholds[int(dice.argmax())])


def _offsets(lessons: Sequence[Lesson], axis: int) -> Tensor:
    """(inside,) cells from each cell of an object to its centre."""
    parts = []
    for lesson in lessons:
        inside = lesson.kinds == INSIDE
        parts.append(lesson.centres[inside, axis] - lesson.places[inside, axis])
    return torch.from_numpy(np.concatenate(parts))


def _fit_offset(cells: Tensor, weights: Tensor, offsets: Tensor) -> Ridge:
    """A ridge that reaches as far as the offsets do; its penalty alone would shorten them."""
    ridge = _fit_ridge(cells, offsets, weights, CENTRE_PENALTY)
    values = ridge(cells).double()
    slope = float((weights * values * offsets).sum() / (weights * values**2).sum().clamp(min=1e-9))
    return Ridge(ridge.weights * slope, ridge.bias * slope)


def _measure_votes(lessons: Sequence[Lesson], cells: Tensor, fitted: Sequence[Ridge]) -> float:
    """Density of votes where those of an example are densest, of the median example."""
    votes = torch.stack([ridge(cells) for ridge in fitted], 1).numpy()
    densities = []
    first = 0
    for lesson in lessons:
        inside = lesson.kinds == INSIDE
        owners = lesson.objects[inside]
        places = lesson.places[inside] + votes[first : first + len(owners)]
        first += len(owners)
        for number in np.unique(owners).tolist():
            own = places[owners == number]
            sampled = own[:: max(1, len(own) // 300)]
            distances = ((sampled[:, None] - sampled[None]) ** 2).sum(2)
            kernel = np.exp(-distances / (2 * VOTE_SPREAD**2)) / (2 * np.pi * VOTE_SPREAD**2)
            densities.append(kernel.sum(1).max() * lesson.areas[number] / len(sampled))
    return float(np.median(densities))
