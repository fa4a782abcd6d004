"""Confidence: how probable it is that a candidate is an object, and the choice among candidates.

A logistic regression on ten measures, none of which knows pixels or sizes, fitted to the candidates
of training images: whether they overlap an object by IoU above 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy import ndimage

from segscope.predict.finding.candidates import Maps, ObjectCandidate
from segscope.predict.finding.grid import LONGER_SIDE
from segscope.predict.finding.search_head import SearchHead

RING = 2  # cells around a candidate
NEAREST_VOTES = 0.7  # spreads of a candidate, within which a vote is one for its centre
LEAST_SPREAD = 0.3 * LONGER_SIDE
FARTHEST_AREA = 5.0  # spreads of the examples' areas
MOST_OVERLAP = 0.3  # IoU
MOST_COVERED = 0.6  # of the smaller candidate

#: of `measure`, and the constant
WEIGHTS = (2.097, -0.796, -2.366, -0.917, -1.139, 1.098, -0.048, -0.029, 1.214, 3.987)
BIAS = -3.783


@dataclass(frozen=True, eq=False)
class CandidateOverlaps:
    """Pairs of different candidates that overlap, in both orders.

    Attributes:
        first, second: (pair,) numbers of candidates, sorted by `first`.
        iou: (pair,) of their masks.
        covered: (pair,) share of the smaller one that both cover.
        count: of candidates.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    iou: NDArray[np.float64]
    covered: NDArray[np.float64]
    count: int


def measure(
    candidates: Sequence[ObjectCandidate], maps: Maps, head: SearchHead, overlaps: CandidateOverlaps
) -> NDArray[np.float64]:
    """(N, 10) of each candidate:

    - mean of the map of objects inside, and in a ring around it
    - spread of the votes, and distance of their mean from the candidate's centre, both in spreads
      of the candidate itself
    - share of the ring that votes for the candidate's centre
    - IoU that the engine predicts; 0 for masks of the head
    - deviation of its area from the examples', and its square
    - highest IoU with another mask of the head, and with another mask of the engine
    """
    areas = np.array([each.mask.sum() for each in candidates], float)
    deviations = (np.log(areas) - head.log_area) / head.area_spread
    deviations = deviations.clip(-FARTHEST_AREA, FARTHEST_AREA)
    predicted = np.array([each.iou or 0.0 for each in candidates])
    by_engine = np.array([each.iou is not None for each in candidates])
    single = np.array([_measure_one(each, maps) for each in candidates])
    return np.column_stack(
        [
            single,
            predicted,
            deviations,
            deviations**2,
            _highest(overlaps, ~by_engine),
            _highest(overlaps, by_engine),
        ]
    )


def estimate_confidence(measures: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) from 0 to 1."""
    return 1 / (1 + np.exp(-(measures @ np.array(WEIGHTS) + BIAS)))


def compare(candidates: Sequence[ObjectCandidate], shape: tuple[int, int]) -> CandidateOverlaps:
    """CandidateOverlaps of candidates on a grid (row, column)."""
    cells = []
    for each in candidates:
        rows, columns = np.nonzero(each.mask)
        cells.append((rows + each.top) * shape[1] + columns + each.left)
    areas = np.array(list(map(len, cells)), float)
    ends = np.concatenate([[0], np.cumsum(areas)]).astype(np.intp)
    values = np.ones(ends[-1], np.float32)
    size = (len(cells), shape[0] * shape[1])
    matrix = scipy.sparse.csr_array((values, np.concatenate(cells), ends), shape=size)
    products = (matrix @ matrix.T).tocoo()
    first, second = products.coords
    different = first != second
    order = np.lexsort((second[different], first[different]))
    first = first[different][order]
    second = second[different][order]
    shared = products.data[different][order].astype(float)
    iou = shared / (areas[first] + areas[second] - shared)
    covered = shared / np.minimum(areas[first], areas[second])
    return CandidateOverlaps(first, second, iou, covered, len(cells))


def suppress(
    confidences: NDArray[np.float64], overlaps: CandidateOverlaps, least: float
) -> list[int]:
    """Numbers of the candidates that stay, most confident first: none below `least`, and none that
    overlaps a more confident one.
    """
    excluding = (overlaps.iou > MOST_OVERLAP) | (overlaps.covered > MOST_COVERED)
    second = overlaps.second[excluding]
    numbers = np.arange(overlaps.count + 1)
    bounds = np.searchsorted(overlaps.first[excluding], numbers)
    alive = np.ones(overlaps.count, bool)
    chosen = []
    for number in np.argsort(-confidences, kind="stable").tolist():
        if confidences[number] < least:
            break
        if alive[number]:
            chosen.append(number)
            alive[second[bounds[number] : bounds[number + 1]]] = False
    return chosen


def _measure_one(
    candidate: ObjectCandidate, maps: Maps
) -> tuple[float, float, float, float, float]:
    """The first five measures."""
    shape = maps.objects.shape
    rows, columns = candidate.logits.shape
    top = max(candidate.top - RING, 0)
    left = max(candidate.left - RING, 0)
    bottom = min(candidate.top + rows + RING, shape[0])
    right = min(candidate.left + columns + RING, shape[1])
    around = (slice(top, bottom), slice(left, right))
    mask = np.zeros((bottom - top, right - left), bool)
    row = candidate.top - top
    column = candidate.left - left
    mask[row : row + rows, column : column + columns] = candidate.mask
    values = maps.objects[around].clip(-2, 2)
    votes = maps.votes[(slice(None), *around)]
    places = np.stack(np.nonzero(mask)) + np.array([[top], [left]])
    centre = places.mean(1)
    spread = np.sqrt(places.var(1).sum())
    own = votes[:, mask]
    unit = max(spread, 0.05 * LONGER_SIDE)
    ring = ndimage.binary_dilation(mask, iterations=RING) & ~mask
    outside = 0.0
    pulled = 0.0
    if ring.any():
        outside = float(values[ring].mean())
        distances = np.linalg.norm(votes[:, ring] - centre[:, None], axis=0)
        reach = max(NEAREST_VOTES * spread, 0.35 * LEAST_SPREAD)
        pulled = float(((values[ring] > 0) & (distances < reach)).mean())
    return (
        float(values[mask].mean()),
        outside,
        float(np.sqrt(own.var(1).sum()) / unit),
        float(np.linalg.norm(own.mean(1) - centre) / unit),
        pulled,
    )


def _highest(overlaps: CandidateOverlaps, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N,) highest IoU of each candidate with another one among those chosen."""
    counted = chosen[overlaps.second]
    highest = np.zeros(overlaps.count)
    np.maximum.at(highest, overlaps.first[counted], overlaps.iou[counted])
    return highest
