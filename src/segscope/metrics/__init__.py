"""Scores of a predicted mask against the truth.

`score` compares one object; `METRICS` lists all measures. Curves of clicks are in
`interactive`, sets of objects in `instances`, predicted IoU in `calibration`. Uses numpy and scipy
only.

Example:
    >>> import numpy as np
    >>> truth = np.zeros((20, 20), bool)
    >>> truth[5:12, 5:12] = True
    >>> scores = score(np.roll(truth, 1, axis=0), truth, metrics=("dice", "hd95"))
    >>> scores.case, round(scores.values["dice"], 3), scores.values["hd95"], scores.unit
    ('both', 0.857, 1.0, 'px')
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import filterfalse
from typing import Literal

import numpy as np

from segscope.arrays import Pixels
from segscope.errors import UnknownName, UsageError
from segscope.metrics import boundary, overlap, saliency
from segscope.metrics.overlap import Mask, as_masks
from segscope.metrics.surface import SurfaceDistances

Case = Literal["both", "missed", "false_alarm", "true_negative"]

DEFAULT = (
    "dice",
    "iou",
    "precision",
    "recall",
    "hd95",
    "assd",
    "nsd@1",
    "nsd@2",
    "volume_difference",
    "false_positive_volume",
)


@dataclass(frozen=True, eq=False)
class Pair:
    """Prediction and truth, and results that several metrics share.

    Attributes:
        map: the prediction as passed in: bool, or float 0 to 1.
        predicted, truth: bool, (row, column) or (frame, row, column).
        spacing: mm along each axis, or None.
    """

    map: Pixels
    predicted: Mask
    truth: Mask
    spacing: tuple[float, ...] | None

    @cached_property
    def surfaces(self) -> SurfaceDistances:
        return SurfaceDistances.between(self.predicted, self.truth, self.spacing)

    @cached_property
    def contours(self) -> boundary.RegionContour:
        return boundary.region_contour(self.predicted, self.truth)

    @cached_property
    def case(self) -> Case:
        if self.truth.any():
            if self.predicted.any():
                return "both"
            return "missed"
        if self.predicted.any():
            return "false_alarm"
        return "true_negative"

    @property
    def diagonal(self) -> float:
        """Of the whole image, in mm or pixels."""
        spacing = self.spacing or (1.0,) * self.truth.ndim
        sides = [size * step for size, step in zip(self.truth.shape, spacing, strict=True)]
        return math.hypot(*sides)


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of METRICS.

    Attributes:
        function: of a pair.
        unit: "" for ratios; "length" is mm, or pixels without spacing; "volume" is mm³ (mm² for one
            image), or the number of voxels without spacing.
        higher_is_better: None where 0 is best, or no value is.
        range: minimum and maximum.
        text: definition in words.
        source: paper that defines it.
        missed: value if the truth has the object and the prediction is empty; "computed" leaves it
            to the function.
        without_truth: whether it is defined if the truth is empty; otherwise it is NaN there.
    """

    function: Callable[[Pair], float]
    unit: Literal["", "length", "volume"]
    higher_is_better: bool | None
    range: tuple[float, float]
    text: str
    source: str
    missed: Literal["zero", "diagonal", "computed"] = "computed"
    without_truth: bool = False


def _part(measure: Callable[[Pair], float], text: str, source: str) -> Metric:
    return Metric(measure, "", True, (0, 1), text, source, "zero")


def _nsd(tolerance: float) -> Metric:
    text = (
        f"share of the area of both surfaces within {tolerance:g} mm (pixels without spacing) of "
        "the other"
    )
    return _part(lambda p: p.surfaces.nsd(tolerance), text, "Nikolov et al. 2018, arXiv:1809.04430")


def _length(measure: Callable[[Pair], float], text: str, source: str) -> Metric:
    return Metric(measure, "length", False, (0, math.inf), text, source, "diagonal")


def _volume(measure: Callable[[Pair], float], better: bool | None, low: float, text: str) -> Metric:
    return Metric(
        measure, "volume", better, (low, math.inf), text, "count of voxels", without_truth=True
    )


def _saliency(
    measure: Callable[[Pixels, Mask], float], text: str, source: str, higher: bool = True
) -> Metric:
    """A measure of images; for volumes and videos, its mean over the frames with truth."""

    def mean(pair: Pair) -> float:
        size_hw = pair.truth.shape[-2:]
        maps = pair.map.reshape(-1, *size_hw)
        truths = pair.truth.reshape(-1, *size_hw)
        values = [measure(maps[i], truth) for i, truth in enumerate(truths) if truth.any()]
        known = list(filterfalse(math.isnan, values))
        if known:
            return float(np.mean(known))
        return math.nan

    return Metric(mean, "", higher, (0, 1), text, source)


_DAVIS = "Perazzi et al. 2016 (DAVIS); SAM 2, arXiv:2408.00714"
_FAN18 = "Fan et al. 2018, arXiv:1805.10421"
_ACHANTA = "Achanta et al. 2009"

METRICS: dict[str, Metric] = {
    "dice": _part(lambda p: overlap.dice(p.predicted, p.truth), "2|P∩G| / (|P|+|G|)", "Dice 1945"),
    "iou": _part(lambda p: overlap.iou(p.predicted, p.truth), "|P∩G| / |P∪G|", "Jaccard 1912"),
    "precision": _part(
        lambda p: overlap.precision(p.predicted, p.truth), "|P∩G| / |P|", "definition"
    ),
    "recall": _part(lambda p: overlap.recall(p.predicted, p.truth), "|P∩G| / |G|", "definition"),
    "nsd@1": _nsd(1),  # any other tolerance may follow the @
    "nsd@2": _nsd(2),
    "hd": _length(lambda p: p.surfaces.hd, "largest distance between the surfaces", "Hausdorff"),
    "hd95": _length(
        lambda p: p.surfaces.hd95,
        "larger of both directed 95th percentiles of distance",
        "as in MONAI",
    ),
    "assd": _length(
        lambda p: p.surfaces.assd,
        "mean distance over the voxels of both surfaces",
        "Heimann et al. 2009",
    ),
    "volume": _volume(lambda p: overlap.volume(p.predicted, p.spacing), None, 0, "|P|"),
    "volume_difference": _volume(
        lambda p: overlap.volume_difference(p.predicted, p.truth, p.spacing),
        None,
        -math.inf,
        "|P| - |G|",
    ),
    "relative_volume_difference": Metric(
        lambda p: overlap.relative_volume_difference(p.predicted, p.truth),
        "",
        None,
        (-1, math.inf),
        "(|P|-|G|) / |G|",
        "definition",
    ),
    "absolute_volume_difference": _volume(
        lambda p: abs(overlap.volume_difference(p.predicted, p.truth, p.spacing)),
        False,
        0,
        "||P| - |G||",
    ),
    "false_positive_volume": _volume(
        lambda p: overlap.volume(p.predicted & ~p.truth, p.spacing), False, 0, "|P outside G|"
    ),
    "boundary_iou": _part(
        lambda p: boundary.boundary_iou(p.predicted, p.truth),
        "IoU of the bands inside the outlines, 2 % of the diagonal wide",
        "Cheng et al. 2021, arXiv:2103.16562",
    ),
    "j": _part(
        lambda p: p.contours.j, "mean IoU of frames; a frame where both are empty counts 1", _DAVIS
    ),
    "f": _part(
        lambda p: p.contours.f, "mean F of contours; a frame where both are empty counts 1", _DAVIS
    ),
    "j&f": _part(lambda p: p.contours.mean, "mean of j and f", _DAVIS),
    "mae": _saliency(saliency.mae, "mean |map - truth|", "Perazzi et al. 2012", higher=False),
    "ber": _saliency(
        saliency.ber,
        "mean error rate of object and background",
        "Vicente et al. 2016",
        higher=False,
    ),
    "s_measure": _saliency(
        saliency.s_measure, "similarity of structure", "Fan et al. 2017, arXiv:1708.00786"
    ),
    "e_measure": _saliency(
        saliency.e_measure, "enhanced alignment at twice the map's mean", _FAN18
    ),
    "e_mean": _saliency(
        lambda m, t: saliency.e_curve(m, t).mean(), "its mean over 256 thresholds", _FAN18
    ),
    "e_max": _saliency(
        lambda m, t: saliency.e_curve(m, t).max(), "its maximum over 256 thresholds", _FAN18
    ),
    "f_measure": _saliency(saliency.f_measure, "F, β² = 0.3, at twice the map's mean", _ACHANTA),
    "f_mean": _saliency(
        lambda m, t: saliency.f_curve(m, t).mean(), "its mean over 256 thresholds", _ACHANTA
    ),
    "f_max": _saliency(
        lambda m, t: saliency.f_curve(m, t).max(), "its maximum over 256 thresholds", _ACHANTA
    ),
    "weighted_f": _saliency(
        saliency.weighted_f, "F, β² = 1, weighted by location", "Margolin et al. 2014"
    ),
}


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one object.

    Attributes:
        values: by name of the metric; NaN where it is undefined.
        case: "both": truth and prediction have the object; "missed": only the truth has it;
            "false_alarm": only the prediction; "true_negative": neither.
        unit: of lengths; volumes are mm³ (mm² for an image) or numbers of voxels.
    """

    values: dict[str, float]
    case: Case
    unit: Literal["mm", "px"]


def lookup(name: str) -> Metric:
    """The row of METRICS with this name; "nsd@" takes any tolerance.

    Raises:
        UsageError: no such metric (similar ones are named), or no tolerance.
    """
    if name in METRICS:
        return METRICS[name]
    key, _, text = name.partition("@")
    try:
        tolerance = float(text)
    except ValueError:
        tolerance = math.nan
    if key == "nsd" and 0 <= tolerance < math.inf:
        return _nsd(tolerance)
    hint = ""
    if key == "nsd":
        hint = "nsd takes a tolerance, as in nsd@0.5."
    raise UnknownName("metric", name, METRICS, hint)


def score(
    predicted: Pixels,
    truth: Pixels,
    spacing_zyx_mm: Sequence[float] | None = None,
    *,
    metrics: Sequence[str] = DEFAULT,
) -> Scores:
    """Compare the predicted mask of one object with the truth.

    Empty masks follow one rule. If the truth is empty, scores are NaN, so that they do not enter
    means, and volumes tell how much was predicted in error. If only the prediction is empty, ratios
    are 0 and distances are the diagonal of the image.

    Args:
        predicted: (row, column) or (frame, row, column); bool or whole numbers (not 0 is inside),
            or float 0 to 1 (above 0.5 is inside; s_measure and similar ones use the values).
        truth: the same shape, not 0 is inside.
        spacing_zyx_mm: distances of voxel centres; the last two of three apply to (row, column).
            Without it, lengths are in pixels.
        metrics: names from METRICS.

    Raises:
        UsageError: shapes, values or spacing that do not fit, an unknown metric (similar ones are
            named).
    """
    rows = {name: lookup(name) for name in metrics}
    pair = _pair(predicted, truth, spacing_zyx_mm)
    values = {name: float(_value(pair, metric)) for name, metric in rows.items()}
    if pair.spacing is None:
        return Scores(values, pair.case, "px")
    return Scores(values, pair.case, "mm")


def _value(pair: Pair, metric: Metric) -> float:
    if not metric.without_truth and pair.case in ("false_alarm", "true_negative"):
        return math.nan
    fixed = {"zero": 0.0, "diagonal": pair.diagonal}
    if pair.case == "missed" and metric.missed in fixed:
        return fixed[metric.missed]
    return metric.function(pair)


def _pair(predicted: Pixels, truth: Pixels, spacing_zyx_mm: Sequence[float] | None) -> Pair:
    values = np.asarray(predicted)
    if values.dtype.kind == "f":
        saliency.check_map(values)
        mask, true = as_masks(values > 0.5, truth)
    else:
        mask, true = as_masks(values, truth)
        values = mask
    if spacing_zyx_mm is None:
        return Pair(values, mask, true, None)
    spacing = tuple(map(float, spacing_zyx_mm))
    if mask.ndim == 2 and len(spacing) == 3:
        spacing = spacing[-2:]
    if len(spacing) != mask.ndim or not all(0 < step < math.inf for step in spacing):
        raise UsageError(
            f"spacing must be {mask.ndim} positive numbers of millimetres, got {spacing_zyx_mm}"
        )
    return Pair(values, mask, true, spacing)
