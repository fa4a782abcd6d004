"""Which examples of a label a session head learns from, where there are many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOST_EXAMPLES = 32  # of one label: about 17 MB of sums


def choose_diverse(means: Sequence[NDArray[np.float32]]) -> list[int]:
    """Positions of at most `MOST_EXAMPLES` of the examples, in order: each of them is the one whose
    mean features are farthest from those chosen before, from the first example on.
    """
    if len(means) <= MOST_EXAMPLES:
        return list(range(len(means)))
    points = np.stack(means).astype(np.float64)
    points = (points - points.mean(0)) / (points.std(0) + 1e-3)
    chosen = [0]
    nearest = _distances(points, 0)
    while len(chosen) < MOST_EXAMPLES:
        farthest = int(nearest.argmax())
        chosen.append(farthest)
        nearest = np.minimum(nearest, _distances(points, farthest))
    return sorted(chosen)


def _distances(points: NDArray[np.float64], position: int) -> NDArray[np.float64]:
    return np.asarray(((points - points[position]) ** 2).mean(1))
