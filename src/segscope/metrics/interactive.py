"""Figures from curves of scores over clicks, prompted frames or seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segscope.errors import UsageError
from segscope.metrics.overlap import Mask, dice
from segscope.metrics.surface import SurfaceDistances

CLICK_ROUNDS = 5
CHALLENGE_TOLERANCE = 2.0
CHALLENGE_SECONDS_PER_CLASS = 90.0


def clicks_needed(curve: ArrayLike, threshold: float, limit: int) -> int:
    """NoC: the number of clicks until the score is at least `threshold`; `limit` if it never is.

    Args:
        curve: score after click 1, 2, ...; NaN never reaches a threshold.
        threshold: usually 0.85 or 0.90 of IoU.
        limit: maximum number of clicks, and the value for failures.
    """
    reached = np.flatnonzero(_curve(curve)[:limit] >= threshold)
    if len(reached):
        return int(reached[0]) + 1
    return limit


def extend_curve(curve: ArrayLike, length: int) -> NDArray[np.float64]:
    """The curve cut or extended to `length` values; one that ends early keeps its last score."""
    values = _curve(curve)[:length]
    return np.pad(values, (0, length - len(values)), mode="edge")


def area(curve: ArrayLike, at: ArrayLike | None = None) -> float:
    """Area under a curve by trapezoids, divided by its span: its mean height.

    Args:
        curve: scores in order.
        at: their positions (clicks, seconds), ascending; by default 0, 1, 2 ...

    Raises:
        UsageError: no values, or positions that do not ascend.
    """
    values = _curve(curve)
    places = np.arange(len(values), dtype=float)
    if at is not None:
        places = np.asarray(at, float)
    if places.shape != values.shape or (np.diff(places) <= 0).any():
        raise UsageError(
            f"{len(values)} scores need as many ascending positions, got {places.tolist()}"
        )
    if len(values) > 1:
        return float(np.trapezoid(values, places) / np.ptp(places))
    return float(values[0])


@dataclass(frozen=True, slots=True)
class ChallengeScores:
    """Figures of the CVPR 2025 challenge for interactive 3D segmentation, means over the classes of
    the case.

    Attributes:
        dice_auc, nsd_auc: areas over the five click rounds with unit steps, not normalised: 0 to 4.
        dice_final, nsd_final: scores after the last click, 0 to 1.
        dice_first, nsd_first: scores after the box, 0 to 1; 0 without a box.
    """

    dice_auc: float
    nsd_auc: float
    dice_final: float
    nsd_final: float
    dice_first: float
    nsd_first: float


def challenge_round(
    predicted: Mask, truth: Mask, spacing_zyx_mm: Sequence[float] | None = None
) -> tuple[float, float]:
    """Dice and NSD of one class in one round: tolerance 2 in the unit of spacing, NSD 0 if Dice is
    0.2 or less.
    """
    overlap = dice(predicted, truth)
    if overlap <= 0.2:
        return overlap, 0.0
    return overlap, SurfaceDistances.between(predicted, truth, spacing_zyx_mm).nsd(
        CHALLENGE_TOLERANCE
    )


def challenge_scores(
    dice_rounds: ArrayLike, nsd_rounds: ArrayLike, seconds: float = 0.0
) -> ChallengeScores:
    """Scores of one case from those of its rounds (`challenge_round`).

    Args:
        dice_rounds, nsd_rounds: (6, classes): after the box, then after 1 to 5 clicks. NaN in the
            first row: no box. A column of NaN: that class is not in this case.
        seconds: time of the whole run; above 90 s per class all scores are 0.

    Raises:
        UsageError: another shape, or no class.
    """
    table = np.stack([np.asarray(dice_rounds, float), np.asarray(nsd_rounds, float)])
    if table.ndim != 3 or table.shape[1] != CLICK_ROUNDS + 1:
        raise UsageError(
            f"scores must be (6, classes): a box round and five clicks; got {table.shape[1:]}"
        )
    table = table[:, :, ~np.isnan(table[0, 1:]).all(axis=0)]
    if not table.size:
        raise UsageError("no class has scores")
    table[:, 0] = np.nan_to_num(table[:, 0])
    if seconds > CHALLENGE_SECONDS_PER_CLASS * table.shape[2]:
        table[:] = 0
    rounds = table.mean(axis=2)
    return ChallengeScores(
        *np.trapezoid(rounds[:, 1:], axis=1).tolist(),
        *rounds[:, -1].tolist(),
        *rounds[:, 0].tolist(),
    )


def _curve(curve: Any) -> NDArray[np.float64]:
    values = np.asarray(curve, float)
    if values.ndim != 1 or not len(values):
        raise UsageError(f"a curve must have one axis and at least one score, got {values.shape}")
    return values
