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
    depends_on_scale,
    mean_of,
    metrics_of,
    patient_scores,
    summarise_patients,
)

ALL = "all sets"
RESAMPLES = 2000
"""Of the mean over sets; the interval of one set takes statistics.RESAMPLES."""

COUNTS = ("n", "n_valid", "n_missed", "n_false_alarm", "n_patients")
FIGURES = ("mean", "low", "high", "median", "sd")
FAILURE_DICE = 0.5


def figures_of(rows: Sequence[Row]) -> Line:
    """Counts and, for each metric, mean, interval, median and SD over the patients of one set."""
    counts = statistics.count_outcomes(row["outcome"] for row in rows)
    names = metrics_of(rows)
    figures: Line = {
        "n": counts.n,
        "n_valid": counts.n_valid,
        "n_missed": counts.n_missed,
        "n_false_alarm": counts.n_false_alarm,
        "n_patients": len({row["group"] for row in rows}),
        "n_failures": None,
        "unit": "/".join(sorted({row["unit"] for row in rows})),
        "metrics": {name: _metric_figures(rows, name) for name in names},
    }
    if "dice" in names:
        figures["n_failures"] = sum(row["dice"] < FAILURE_DICE for row in rows)
    if len({row["seed"] for row in rows}) > 1:
        scores = [row[names[0]] for row in rows]
        groups = [row["group"] for row in rows]
        seeds = [row["seed"] for row in rows]
        between_patients, between_seeds = statistics.spread(scores, groups, seeds)
        figures["sd_patients"] = between_patients
        figures["sd_seeds"] = between_seeds
    return figures


def _metric_figures(rows: Sequence[Row], name: str) -> dict[str, float]:
    summary = summarise_patients(rows, name)
    return {
        "mean": summary.mean,
        "low": summary.interval.low,
        "high": summary.interval.high,
        "median": summary.median,
        "sd": summary.sd,
    }


def overall_figures(sets: Sequence[Sequence[Row]], figures: Sequence[Line]) -> Line:
    """Mean of the sets' means; its interval resamples patients within each set."""
    line: Line = {key: sum(figure[key] for figure in figures) for key in COUNTS}
    failures = [figure["n_failures"] for figure in figures]
    line["n_failures"] = None
    if None not in failures:
        line["n_failures"] = sum(failures)
    line["unit"] = "/".join(sorted({figure["unit"] for figure in figures}))
    line["metrics"] = {}
    for name in dict.fromkeys(name for figure in figures for name in figure["metrics"]):
        line["metrics"][name] = dict.fromkeys(FIGURES, math.nan)
        if "/" in line["unit"] and depends_on_scale(name):
            continue  # millimetres and pixels have no common mean
        means = [figure["metrics"][name]["mean"] for figure in figures if name in figure["metrics"]]
        low, high = bootstrap_over_sets(sets, name)
        line["metrics"][name] |= {"mean": mean_of(means), "low": low, "high": high}
    return line


def bootstrap_over_sets(sets: Sequence[Sequence[Row]], name: str) -> tuple[float, float]:
    """95 % interval of the mean over sets; sets of fewer than two patients do not vary."""
    rng = np.random.default_rng(0)
    resampled = []
    for rows in sets:
        means = _patient_means(rows, name)
        if len(means):
            draws = rng.integers(0, len(means), (RESAMPLES, len(means)))
            resampled.append(means[draws].mean(1))
    if not resampled or all(np.ptp(values) == 0 for values in resampled):
        return math.nan, math.nan
    low, high = np.percentile(np.mean(resampled, axis=0), [2.5, 97.5])
    return float(low), float(high)


def _patient_means(rows: Sequence[Row], name: str) -> NDArray[np.float64]:
    """Mean of each patient with a score, sorted."""
    scores, patients = patient_scores(rows, name)
    means = []
    for patient in dict.fromkeys(patients):
        own = [score for score, owner in zip(scores, patients, strict=True) if owner == patient]
        means.append(mean_of(own))
    values = np.sort(np.array(means))
    return values[~np.isnan(values)]
