"""From scores to statistics: means with intervals, comparisons of two models, counts of outcomes.

The unit is the patient (or the video), never the slice: values of one patient are averaged first,
and intervals are those of patients (`segscope.metrics.intervals`). NaN values (no object in the
truth) are left out and counted. Uses numpy and scipy only.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from segscope.errors import UsageError
from segscope.metrics.intervals import Bounds, Interval, mean_interval, median_interval

Array = NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """Figures of one column of a table; mean, median and SD are those of the patients' means.

    Attributes:
        n: values that are numbers.
        n_left_out: values that are NaN.
        n_groups: patients with a value.
        mean, median, sd: NaN where there are too few patients.
        interval: of the mean.
    """

    n: int
    n_left_out: int
    n_groups: int
    mean: float
    median: float
    sd: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """The first model minus the second, on the answers that both gave.

    Attributes:
        n_pairs, n_left_out: number of keys that both have as numbers, and of the others.
        n_groups: patients.
        median_difference, median_interval: of the patients' mean differences.
        mean_difference, mean_interval: of the same; a case that is lost shows in the mean only.
        p: Wilcoxon signed-rank test on the patients' mean differences, two-sided.
        p_holm: p after `holm` over all comparisons of one table.
    """

    n_pairs: int
    n_left_out: int
    n_groups: int
    median_difference: float
    median_interval: Interval
    mean_difference: float
    mean_interval: Interval
    p: float
    p_holm: float = math.nan


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of outcomes.

    Attributes:
        n: all.
        n_valid: the truth has the object.
        n_missed: the truth has the object, and the prediction is empty.
        n_false_alarm: the truth is empty, and the prediction is not.
    """

    n: int
    n_valid: int
    n_missed: int
    n_false_alarm: int

    @property
    def false_positive_rate(self) -> float:
        """Share of false alarms among the cases without an object; NaN without such cases."""
        empty = self.n - self.n_valid
        if empty:
            return self.n_false_alarm / empty
        return math.nan


def summarise_metric(
    values: ArrayLike, groups: Sequence[Hashable], bounds: Bounds | None = None
) -> MetricSummary:
    """Mean, median, SD and interval of the mean.

    Args:
        values: one score for each case, object and prompt.
        groups: patient of each value.
        bounds: smallest and largest value that is possible, where both are finite.

    Raises:
        UsageError: not as many groups as values.
    """
    scores = np.asarray(values, float).ravel()
    means, n = _group_means(scores, groups)
    return MetricSummary(
        n=n,
        n_left_out=len(scores) - n,
        n_groups=len(means),
        mean=_or_nan(np.mean, means),
        median=_or_nan(np.median, means),
        sd=_sd(means),
        interval=mean_interval(means, bounds),
    )


def compare(
    first: Mapping[Hashable, float],
    second: Mapping[Hashable, float],
    groups: Mapping[Hashable, Hashable],
) -> PairedComparison:
    """Compare two models on the same cases, objects and prompts.

    Args:
        first, second: scores by any key that identifies an answer, as (case, object, prompt).
        groups: patient by the same keys.
    """
    keys = [key for key in first if key in second]
    differences = np.array([first[key] - second[key] for key in keys], float)
    means, n = _group_means(differences, [groups[key] for key in keys])
    return PairedComparison(
        n_pairs=n,
        n_left_out=len({*first, *second}) - n,
        n_groups=len(means),
        median_difference=_or_nan(np.median, means),
        median_interval=median_interval(means),
        mean_difference=_or_nan(np.mean, means),
        mean_interval=mean_interval(means),
        p=_wilcoxon(means),
    )


def correct_family(comparisons: Sequence[PairedComparison]) -> tuple[PairedComparison, ...]:
    """The same comparisons with `p_holm`, corrected as one family."""
    adjusted = holm([comparison.p for comparison in comparisons])
    return tuple(
        replace(one, p_holm=float(p)) for one, p in zip(comparisons, adjusted, strict=True)
    )


def holm(p: ArrayLike) -> Array:
    """Holm's step-down correction: p values that may all be compared with one level. NaN stays NaN
    and is not counted.
    """
    values = np.asarray(p, float)
    result = np.full(values.shape, np.nan)
    order = np.argsort(values, kind="stable")[: np.count_nonzero(~np.isnan(values))]
    stepped = values[order] * np.arange(len(order), 0, -1)
    result[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return result


def count_outcomes(cases: Iterable[str]) -> Counts:
    """Counts of `Scores.case`; a missed case is a valid one too."""
    number = Counter(cases)
    return Counts(
        n=number.total(),
        n_valid=number["both"] + number["missed"],
        n_missed=number["missed"],
        n_false_alarm=number["false_alarm"],
    )


def nested_mean(
    values: ArrayLike, *levels: Sequence[Hashable]
) -> tuple[float, dict[Hashable, float]]:
    """Means of means: over equal places, then over the first level, over the second ...

    `nested_mean(dice, volume, object, class)` averages what one volume gives for an object, then
    the volumes of each object, the objects of each class, and the classes. `nested_mean(j, object,
    video)` is the J of SAM 2's tables from values of frames.

    Args:
        values: NaN values are left out.
        levels: place of each value on each level, innermost first.

    Returns:
        The mean over the last level, and the mean of each of its members; NaN and {} without
        values.

    Raises:
        UsageError: no level, or one of another length.
    """
    scores = np.asarray(values, float).ravel()
    if not levels or any(len(level) != len(scores) for level in levels):
        lengths = list(map(len, levels))
        raise UsageError(f"{len(scores)} values need levels of that length, got {lengths}")
    table: dict[tuple[Hashable, ...], float] = _means(
        zip(zip(*levels, strict=True), scores.tolist(), strict=True)
    )
    for _ in levels[1:]:
        table = _means((key[1:], value) for key, value in table.items())
    members = {key[0]: value for key, value in table.items()}
    return _or_nan(np.mean, np.array(list(members.values()))), members


def spread(
    values: ArrayLike, groups: Sequence[Hashable], seeds: Sequence[Hashable]
) -> tuple[float, float]:
    """SD between patients (each averaged over seeds) and SD of the set's mean between seeds of the
    prompts.

    Returns:
        NaN in place of an SD with fewer than two patients or seeds.
    """
    scores = np.asarray(values, float).ravel()
    patients, _ = _group_means(scores, groups)
    _, of_seeds = nested_mean(scores, groups, seeds)
    return _sd(patients), _sd(np.array(list(of_seeds.values())))


def _or_nan(statistic: Callable[..., np.floating[Any]], values: Array) -> float:
    """A statistic of values; NaN without any."""
    if not len(values):
        return math.nan
    return float(statistic(values))


def _sd(values: Array) -> float:
    if len(values) > 1:
        return float(values.std(ddof=1))
    return math.nan


def _group_means(values: Array, groups: Sequence[Hashable]) -> tuple[Array, int]:
    """Means of the groups that have a value, and the number of values.

    The means ascend, so that sums do not depend on the order of rows.
    """
    if len(groups) != len(values):
        raise UsageError(f"{len(values)} values need as many groups, got {len(groups)}")
    means = _means(zip(groups, values.tolist(), strict=True))
    return np.sort(list(means.values())), int(np.count_nonzero(~np.isnan(values)))


def _means(pairs: Iterable[tuple[Key, float]]) -> dict[Key, float]:
    collected: dict[Key, list[float]] = {}
    for key, value in pairs:
        if not math.isnan(value):
            collected.setdefault(key, []).append(value)
    return {key: math.fsum(values) / len(values) for key, values in collected.items()}


def _wilcoxon(differences: Array) -> float:
    """Two-sided p; differences of 0 are left out, and p is 1 if there are no others."""
    apart = differences[np.abs(differences) > 1e-12]
    if not len(differences):
        return math.nan
    if not len(apart):
        return 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # older scipy warns about few patients; see n_groups
        return float(stats.wilcoxon(apart).pvalue)
