"""Points on an object without any earlier prompt."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segscope.prompts import Prompt
from segscope.simulate.annotation_target import AnnotationTarget, Rng
from segscope.simulate.regions import deepest, parts

CANDIDATES = 64  # places compared for each negative point


def points(target: AnnotationTarget, rng: Rng, *, k: int = 1, negatives: int = 0) -> list[Prompt]:
    """One point near the centroid and k - 1 drawn from the object; `negatives` far from them and
    from each other.
    """
    inside = np.argwhere(target.mask)
    nearest = int(np.argmin(((inside - inside.mean(axis=0)) ** 2).sum(axis=1)))
    others = rng.choice(len(inside), min(k, len(inside)), replace=False)
    places = inside[[nearest, *others[others != nearest]][:k]]
    outside = _far(np.argwhere(~target.mask), places, negatives, rng)
    clicks: list[Prompt] = [target.click(row, column) for row, column in places]
    return clicks + [target.click(row, column, positive=False) for row, column in outside]


def _far(
    pool: NDArray[np.intp], places: NDArray[np.intp], count: int, rng: Rng
) -> NDArray[np.intp]:
    """`count` places (row, column) of a pool, each the farthest of some candidates from all chosen
    before.
    """
    start = len(places)
    for _ in range(min(count, len(pool))):
        some = pool[rng.integers(len(pool), size=CANDIDATES)]
        gaps = ((some[:, None] - places[None]) ** 2).sum(axis=2).min(axis=1)
        places = np.concatenate([places, some[[int(np.argmax(gaps))]]])
    return places[start:]


def top(target: AnnotationTarget, _rng: Rng, *, k: int = 1) -> list[Prompt]:
    """The deepest pixel of each of the largest parts."""
    clicks: list[Prompt] = []
    for (rows, columns), part in parts(target.mask, k):
        _, row, column = deepest(part)
        clicks.append(target.click(row + rows.start, column + columns.start))
    return clicks
