"""Figures of one data set, and of several together: means, counts and 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segscope.evaluate import statistics
from segscope.evaluate.results_log import Row
from segscope.evaluate.rows import (
    Line,
    bounds_of,
    column_of,
    depends_on_scale,
    list_metrics,
    mean_of,
    metrics_of,
    patient_scores,
    summarise_patients,
)
from segscope.metrics.intervals import Interval, mean_interval_of_sets

ALL = "all sets"
COUNTS = ("n", "n_valid", "n_missed", "n_false_alarm", "n_patients")
FIGURES = ("mean", "low", "high", "median", "sd")
"""Figures of a metric, beside the "note" of its interval."""

FAILURE_DICE = 0.5


def figures_of(rows: Sequence[Row]) -> Line:
    """Counts and, for each metric, mean, interval, median and SD over the patients of one set."""
    counts = statistics.count_outcomes(column_of(rows, "outcome"))
    names = metrics_of(rows)
    figures: Line = {
        "n": counts.n,
        "n_valid": counts.n_valid,
        "n_missed": counts.n_missed,
        "n_false_alarm": counts.n_false_alarm,
        "n_patients": len(set(column_of(rows, "group"))),
        "n_failures": None,
        "unit": "/".join(sorted(set(column_of(rows, "unit")))),
        "metrics": {name: _metric_figures(rows, name) for name in names},
    }
    if "dice" in names:
        figures["n_failures"] = sum(row["dice"] < FAILURE_DICE for row in rows)
    if len(set(column_of(rows, "seed"))) > 1:
        scores = column_of(rows, names[0])
        groups = column_of(rows, "group")
        seeds = column_of(rows, "seed")
        between_patients, between_seeds = statistics.spread(scores, groups, seeds)
        figures["sd_patients"] = between_patients
        figures["sd_seeds"] = between_seeds
    return figures


def _metric_figures(rows: Sequence[Row], name: str) -> Line:
    summary = summarise_patients(rows, name)
    return {
        "mean": summary.mean,
        "low": summary.interval.low,
        "high": summary.interval.high,
        "median": summary.median,
        "sd": summary.sd,
        "note": summary.interval.note,
    }


def overall_figures(sets: Sequence[Sequence[Row]], figures: Sequence[Line]) -> Line:
    """Mean of the sets' means; the patients of each set vary in its interval, the sets do not."""
    line: Line = {key: sum(column_of(figures, key)) for key in COUNTS}
    failures = column_of(figures, "n_failures")
    line["n_failures"] = None
    if None not in failures:
        line["n_failures"] = sum(failures)
    line["unit"] = "/".join(sorted(set(column_of(figures, "unit"))))
    line["metrics"] = {}
    for name in list_metrics(figures):
        line["metrics"][name] = {**dict.fromkeys(FIGURES, math.nan), "note": ""}
        if "/" in line["unit"] and depends_on_scale(name):
            continue  # millimetres and pixels have no common mean
        means = [figure["metrics"][name]["mean"] for figure in figures if name in figure["metrics"]]
        interval = interval_over_sets(sets, name)
        line["metrics"][name] |= {
            "mean": mean_of(means),
            "low": interval.low,
            "high": interval.high,
            "note": interval.note,
        }
    return line


def interval_over_sets(sets: Sequence[Sequence[Row]], name: str) -> Interval:
    """95 % interval of the mean over sets, of those with a score."""
    means = [_patient_means(rows, name) for rows in sets]
    return mean_interval_of_sets([each for each in means if len(each)], bounds_of(name))


def _patient_means(rows: Sequence[Row], name: str) -> NDArray[np.float64]:
    """Mean of each patient with a score, sorted."""
    scores, patients = patient_scores(rows, name)
    means = []
    for patient in dict.fromkeys(patients):
        own = [score for score, owner in zip(scores, patients, strict=True) if owner == patient]
        means.append(mean_of(own))
    values = np.sort(np.array(means))
    return values[~np.isnan(values)]
