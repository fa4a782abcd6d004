"""What a curve of scores over clicks, prompted frames or seconds amounts to."""

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
CHALLENGE_SECONDS_A_CLASS = 90.0


def clicks_needed(curve: ArrayLike, threshold: float, limit: int) -> int:
    """NoC: the first click after which the score is at least `threshold`; `limit` when none of the
    first is.

    Args:
        curve: score after click 1, 2, ...; NaN never reaches a threshold.
        threshold: 0.85 and 0.90 of IoU are usual.
        limit: clicks that are allowed, and the price of failing.
    """
    reached = np.flatnonzero(_curve(curve)[:limit] >= threshold)
    if len(reached):
        return int(reached[0]) + 1
    return limit


def extend_curve(curve: ArrayLike, length: int) -> NDArray[np.float64]:
    """The curve cut or continued to `length` values; who stops early keeps the last score."""
    values = _curve(curve)[:length]
    return np.pad(values, (0, length - len(values)), mode="edge")


def area(curve: ArrayLike, at: ArrayLike | None = None) -> float:
    """Area under a curve by trapezoids over its span, 0 to 1 for scores 0 to 1 (the mean height of
    the curve).

    Args:
        curve: scores in order.
        at: where they lie (clicks, seconds), ascending; one apart unless given.

    Raises:
        UsageError: no values, or places that do not ascend.
    """
    values = _curve(curve)
    if at is None:
        places = np.arange(len(values), dtype=float)
    else:
        places = np.asarray(at, float)
    if places.shape != values.shape or (np.diff(places) <= 0).any():
        raise UsageError(
            f"{len(values)} scores need as many ascending places, got {places.tolist()}"
        )
    if len(values) > 1:
        return float(np.trapezoid(values, places) / np.ptp(places))
    return float(values[0])


def annotation_seconds(
    frames: int, clicks_a_frame: float, prompted: int, *, online: bool = False
) -> float:
    """Time of a person who prompts frames of a video, by SAM 2's model (arXiv:2408.00714).

    Watching 300 frames takes 30 s, finding the object on a frame 1 s, a click 1.5 s. Offline the
    whole video is watched again for each prompted frame, online once.
    """
    watching = 30 * frames / 300
    return watching * (1 if online else prompted) + (1 + 1.5 * clicks_a_frame) * prompted


@dataclass(frozen=True, slots=True)
class ChallengeScores:
    """Figures of the CVPR 2025 challenge for interactive 3D segmentation, means over the classes
    that are present.

    Attributes:
        dice_auc, nsd_auc: areas over the five click rounds with unit steps, not normalised: 0 to 4.
        dice_final, nsd_final: scores after the last click, 0 to 1.
        dice_first, nsd_first: scores after the box, 0 to 1; 0 where none was given.
    """

    dice_auc: float
    nsd_auc: float
    dice_final: float
    nsd_final: float
    dice_first: float
    nsd_first: float


def challenge_round(
    found: Mask, truth: Mask, spacing_zyx_mm: Sequence[float] | None = None
) -> tuple[float, float]:
    """Dice and NSD of one class in one round: tolerance 2 in the unit of spacing, NSD 0 where Dice
    is at most 0.2.
    """
    overlap = dice(found, truth)
    if overlap <= 0.2:
        return overlap, 0.0
    return overlap, SurfaceDistances.between(found, truth, spacing_zyx_mm).nsd(CHALLENGE_TOLERANCE)


def challenge_scores(
    dice_rounds: ArrayLike, nsd_rounds: ArrayLike, seconds: float = 0.0
) -> ChallengeScores:
    """Scores of one case from those of its rounds (`challenge_round`).

    Args:
        dice_rounds, nsd_rounds: (6, classes): after the box, then after 1 to 5 clicks. NaN in the
            first row: no box. A column of NaN: that class is not in this case.
        seconds: time of the whole run; above 90 s a class everything is 0.

    Raises:
        UsageError: another shape, or no class is present.
    """
    table = np.stack([np.asarray(dice_rounds, float), np.asarray(nsd_rounds, float)])
    if table.ndim != 3 or table.shape[1] != CLICK_ROUNDS + 1:
        raise UsageError(
            f"scores are (6, classes): a box round and five clicks; got {table.shape[1:]}"
        )
    table = table[:, :, ~np.isnan(table[0, 1:]).all(axis=0)]
    if not table.size:
        raise UsageError("no class has scores")
    table[:, 0] = np.nan_to_num(table[:, 0])
    if seconds > CHALLENGE_SECONDS_A_CLASS * table.shape[2]:
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
        raise UsageError(f"a curve is a row of at least one score, got shape {values.shape}")
    return values
