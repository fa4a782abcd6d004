"""Rows of an evaluation, grouped: by columns, by patient, by rollout and round."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, filterfalse
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import UsageError
from segscope.evaluate import statistics
from segscope.evaluate.results_log import Row
from segscope.metrics import METRICS, Metric, lookup
from segscope.metrics.intervals import Bounds

Line = dict[str, Any]
"""Figures of a group of rows, as plain values."""

GroupKey = tuple[Hashable, ...]

ROLLOUT = ("model", "dataset", "case", "object", "prompt", "choose", "degrade", "seed")
"""Columns that tell one rollout (an object prompted round by round) from another."""

SPLIT_DICE = {
    "dice@prompted": replace(
        METRICS["dice"], text="dice of the frames that were prompted, together"
    ),
    "dice@propagated": replace(
        METRICS["dice"], text="dice of all other frames, which tracking reached, together"
    ),
}
"""Measured in addition where stacks are tracked: a prompted frame must not hide what memory
contributes.
"""


def group_rows(rows: Iterable[Row], *names: str) -> dict[GroupKey, list[Row]]:
    """Rows by the values of some columns, sorted by these values."""
    groups: dict[GroupKey, list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[name] for name in names)].append(row)
    return dict(sorted(groups.items(), key=lambda item: tuple(map(str, item[0]))))


def select(rows: Iterable[Row], **columns: Hashable) -> list[Row]:
    """Rows, or lines, that have these values in these columns."""
    items = columns.items()
    return [row for row in rows if all(row[name] == value for name, value in items)]


def select_plain(rows: Iterable[Row]) -> list[Row]:
    """Rows of undisturbed images with the mask that a user would get."""
    return select(rows, degrade="none", choose="predicted")


def column_of(rows: Iterable[Row], name: str) -> list[Any]:
    """The values of a column, row by row."""
    return [row[name] for row in rows]


def by_dataset(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows of each data set."""
    return {str(dataset): members for (dataset,), members in group_rows(rows, "dataset").items()}


def last_rounds(rows: Iterable[Row]) -> list[Row]:
    """The last round of each rollout on an object."""
    latest: dict[GroupKey, Row] = {}
    for row in object_rows(rows):
        key = tuple(row[name] for name in ROLLOUT)
        if key not in latest or row["round"] > latest[key]["round"]:
            latest[key] = row
    return list(latest.values())


def object_rows(rows: Iterable[Row]) -> list[Row]:
    """Rows of prompted objects; those of failed cases and of whole images are left out."""
    return [row for row in rows if "round" in row and row["object"] != "all"]


def rounds_of_rollouts(rows: Iterable[Row]) -> list[list[Row]]:
    """Rounds of each rollout, in order."""
    rollouts = group_rows(rows, *ROLLOUT).values()
    return [sorted(rollout, key=lambda row: row["round"]) for rollout in rollouts]


def answer_key(row: Row) -> GroupKey:
    """Identity of an answer, whichever model gave it."""
    return (row["case"], row["object"], row["seed"])


def metrics_of(rows: Sequence[Row]) -> list[str]:
    """Names of the metrics of rows of one kind of stack, in the order of the protocol."""
    if not rows:
        return []
    return list(filter(is_metric, rows[0]))


def list_metrics(lines: Iterable[Line]) -> list[str]:
    """Names of the metrics in lines, in the order of their first appearance."""
    return list(dict.fromkeys(chain.from_iterable(line["metrics"] for line in lines)))


def describe_metric(name: str) -> Metric:
    """What a column of scores is.

    Raises:
        UsageError: no such metric.
    """
    if name in SPLIT_DICE:
        return SPLIT_DICE[name]
    return lookup(name)


def is_metric(name: str) -> bool:
    """Whether a column holds scores."""
    try:
        describe_metric(name)
    except UsageError:
        return False
    return True


def depends_on_scale(name: str) -> bool:
    """Whether a metric means something else in pixels than in millimetres."""
    return bool(describe_metric(name).unit) or name.startswith("nsd")


def summarise_patients(rows: Sequence[Row], name: str) -> statistics.MetricSummary:
    """Summary of a metric over patients."""
    scores, patients = patient_scores(rows, name)
    return statistics.summarise_metric(scores, patients, bounds_of(name))


def bounds_of(name: str) -> Bounds | None:
    """Smallest and largest value of a metric; None where there is no limit."""
    low, high = describe_metric(name).range
    if math.isfinite(low) and math.isfinite(high):
        return low, high
    return None


def patient_scores(rows: Sequence[Row], name: str) -> tuple[NDArray[np.float64], list[Hashable]]:
    """Scores of each patient and class, and the patient of each score.

    Objects and seeds of one class of one patient are averaged.
    """
    scores: dict[GroupKey, list[float]] = defaultdict(list)
    for row in rows:
        scores[row["group"], row["label"]].append(row[name])
    keys = sorted(scores, key=str)
    means = np.array([mean_of(scores[key]) for key in keys])
    return means, [patient for patient, _ in keys]


def separate_patients(rows: Iterable[Row]) -> list[Row]:
    """Rows in which equal patient numbers of different data sets are different patients."""
    return [{**row, "group": (row["dataset"], row["group"])} for row in rows]


def mean(rows: Sequence[Row], name: str) -> statistics.MetricSummary:
    """Summary of a metric of last rounds over patients, of one or several data sets."""
    return summarise_patients(separate_patients(rows), name)


def gain(before: Sequence[Row], after: Sequence[Row], name: str) -> statistics.MetricSummary:
    """Summary of the differences, second less first, where both answered the same prompts."""
    scores = {(row["dataset"], *answer_key(row)): row[name] for row in before}
    differences = []
    for row in after:
        score = scores.get((row["dataset"], *answer_key(row)))
        if score is not None:
            differences.append({**row, name: row[name] - score})
    # without the bounds of the metric, which are not those of its differences
    return statistics.summarise_metric(*patient_scores(separate_patients(differences), name))


def mean_of(values: Iterable[float]) -> float:
    """Mean of the values that are numbers; NaN without any."""
    numbers = list(filterfalse(math.isnan, values))
    if not numbers:
        return math.nan
    return math.fsum(numbers) / len(numbers)


def to_plain(value: Any) -> Any:
    """Plain values for JSON: tuples as lists, NaN as null."""
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return list(map(to_plain, value))
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
