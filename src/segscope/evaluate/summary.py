"""Summary: from rows to the figures that are reported, the same numbers for people and for
summary.json.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from segscope.evaluate import statistics
from segscope.evaluate.curves import COLUMNS, tabulate_challenge, tabulate_curves
from segscope.evaluate.overall import ALL, figures_of, overall_figures
from segscope.evaluate.results_log import Row
from segscope.evaluate.rows import (
    Line,
    answer_key,
    by_dataset,
    column_of,
    group_rows,
    last_rounds,
    mean_of,
    metrics_of,
    object_rows,
    select,
    select_plain,
    separate_patients,
    to_plain,
)
from segscope.metrics.calibration import calibration

EVERYTHING_METRICS = (
    "ap@50",
    "f1@50",
    "precision@50",
    "recall@50",
    "pq",
    "ap@75",
    "aji",
    "oracle_union_dice",
)


@dataclass(frozen=True, slots=True)
class Summary:
    """All figures of an evaluation, as plain values.

    Attributes:
        header: protocol, models, data sets and versions.
        machine: where it ran.
        warnings: what to know before believing a figure.
        failed: cases that could not be evaluated, with the reason.
        lines: one for each data set (and `ALL`), model, prompt, choice of mask and disturbance:
            counts and, for each metric, mean, median, SD and 95 % interval over patients.
        curves: Dice by round of prompts, with its normalised area and the clicks needed for Dice
            0.85 and 0.90.
        comparisons: each pair of models on the same cases and prompts.
        strata: lines by modality and by size.
        calibration: predicted and true IoU by model and prompt.
        everything: masks without prompts, by data set and model.
        challenge: scores of the CVPR 2025 challenge, where the protocol asks for them.
        costs: seconds and memory by model.
    """

    header: Mapping[str, Any]
    machine: Mapping[str, Any]
    warnings: list[str]
    failed: list[Row]
    lines: list[Line]
    curves: list[Line]
    comparisons: list[Line]
    strata: list[Line]
    calibration: list[Line]
    everything: list[Line]
    challenge: list[Line]
    costs: list[Line]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: NaN as null."""
        return to_plain(asdict(self))

    def say(self) -> list[str]:
        """The overall figures, a line each, for a terminal."""
        texts = []
        for line in self.lines:
            if line["dataset"] == ALL and line["degrade"] == "none":
                texts.append(_overall_text(line))
        for line in self.everything:
            if line["dataset"] == ALL:
                texts.append(_everything_text(line))
        return texts


def _overall_text(line: Line) -> str:
    name, figure = next(iter(line["metrics"].items()))
    interval = figure["note"]
    if not math.isnan(figure["low"]):
        interval = f"{figure['low']:.3f} to {figure['high']:.3f}"
        if figure["note"]:
            interval += f", {figure['note']}"
    prompt = line["prompt"]
    if line["choose"] == "oracle":
        prompt += " (oracle)"
    return (
        f"{line['model']:<14} {line['kind']:<8} {prompt:<26} {name} {figure['mean']:.3f} "
        f"({interval}), "
        f"n {line['n_valid']}, missed {line['n_missed']}"
    )


def _everything_text(line: Line) -> str:
    return (
        f"{line['model']:<14} {'image':<8} {'everything':<26} AP@50 {line['ap@50']:.3f}, "
        f"F1@50 {line['f1@50']:.3f}, n {line['n']} images"
    )


def summarise(
    rows: Sequence[Row], header: Mapping[str, Any], warnings: list[str], machine: Mapping[str, Any]
) -> Summary:
    """All figures of rows; the order of rows does not matter."""
    objects = object_rows(rows)
    last = last_rounds(rows)
    challenge = []
    if header["protocol"]["cvpr25"]:
        challenge = tabulate_challenge(objects)
    return Summary(
        header=header,
        machine=machine,
        warnings=warnings,
        failed=[row for row in rows if "failed" in row],
        lines=_tabulate_prompts(last),
        curves=tabulate_curves(objects),
        comparisons=_compare_models(last),
        strata=_tabulate_strata(last),
        calibration=_tabulate_calibration(objects),
        everything=_tabulate_everything([row for row in rows if row.get("object") == "all"]),
        challenge=challenge,
        costs=_tabulate_costs(rows),
    )


def _tabulate_prompts(last: Sequence[Row]) -> list[Line]:
    """Figures of each data set and of all, by model, prompt, choice of mask and disturbance."""
    lines = []
    for key, rows in group_rows(last, *COLUMNS).items():
        head = dict(zip(COLUMNS, key, strict=True))
        sets = by_dataset(rows)
        figures = {dataset: figures_of(members) for dataset, members in sets.items()}
        lines += [{**head, "dataset": dataset, **line} for dataset, line in figures.items()]
        overall = overall_figures(list(sets.values()), list(figures.values()))
        lines.append({**head, "dataset": ALL, **overall})
    return lines


def _compare_models(last: Sequence[Row]) -> list[Line]:
    """Each pair of models, on the prompts that both answered; p values are corrected together."""
    columns = ("kind", "dataset", "prompt", "choose", "degrade")
    heads = []
    results = []
    for key, rows in group_rows(last, *columns).items():
        models = group_rows(rows, "model")
        metric = metrics_of(rows)[0]
        groups: dict[Hashable, Hashable] = {answer_key(row): row["group"] for row in rows}
        for one, two in itertools.combinations(models, 2):
            head = dict(zip(columns, key, strict=True))
            heads.append({**head, "first": one[0], "second": two[0], "metric": metric})
            first = _scores_by_answer(models[one], metric)
            second = _scores_by_answer(models[two], metric)
            results.append(statistics.compare(first, second, groups))
    lines = []
    for head, result in zip(heads, statistics.correct_family(results), strict=True):
        figures = {
            "n_pairs": result.n_pairs,
            "n_patients": result.n_groups,
            "difference": result.median_difference,
            "low": result.median_interval.low,
            "high": result.median_interval.high,
            "mean_difference": result.mean_difference,
            "mean_low": result.mean_interval.low,
            "mean_high": result.mean_interval.high,
            "note": result.mean_interval.note,
            "p": result.p,
            "p_holm": result.p_holm,
        }
        lines.append({**head, **figures})
    return lines


def _scores_by_answer(rows: Iterable[Row], metric: str) -> dict[Hashable, float]:
    return {answer_key(row): row[metric] for row in rows}


def size_of(pixels: int) -> str:
    """Size class of an object on the frame where it is largest (limits of COCO)."""
    if pixels < 32**2:
        return "small"
    if pixels < 96**2:
        return "medium"
    return "large"


def _tabulate_strata(last: Sequence[Row]) -> list[Line]:
    """Figures by modality and by size, where there are several of them."""
    plain = select_plain(last)
    by_modality = [{**row, "stratum": row["modality"] or "unknown"} for row in plain]
    by_size = [{**row, "stratum": size_of(row["pixels"])} for row in plain]
    return [*_stratum_lines("modality", by_modality), *_stratum_lines("size", by_size)]


def _stratum_lines(criterion: str, rows: Sequence[Row]) -> list[Line]:
    if len(set(column_of(rows, "stratum"))) < 2:
        return []
    columns = ("kind", "stratum", "model", "prompt")
    lines = []
    for key, members in group_rows(rows, *columns).items():
        head = dict(zip(columns, key, strict=True))
        lines.append({"by": criterion, **head, **figures_of(separate_patients(members))})
    return lines


def _tabulate_calibration(rows: Sequence[Row]) -> list[Line]:
    """Predicted and true IoU of the first answer to each prompt."""
    lines = []
    for (model, prompt), members in group_rows(
        filter(_is_calibrated, rows), "model", "prompt"
    ).items():
        predicted = column_of(members, "predicted_iou")
        true = column_of(members, "true_iou")
        figures = asdict(calibration(predicted, true))
        lines.append({"model": model, "prompt": prompt, **figures})
    return lines


def _is_calibrated(row: Row) -> bool:
    """Whether a row is a network's own first answer, with a predicted and a true IoU."""
    if row["round"] != 1 or row["true_iou"] is None:
        return False
    if row["prompt"].startswith("mask"):  # the prompt itself is the answer
        return False
    return bool(row["degrade"] == "none" and row["choose"] == "predicted")


def _tabulate_everything(rows: Sequence[Row]) -> list[Line]:
    """Masks without prompts, by data set and model."""
    lines = []
    for (model, degrade), members in group_rows(rows, "model", "degrade").items():
        head = {"model": model, "degrade": degrade}
        figures: list[Line] = []
        for dataset, images in by_dataset(members).items():
            values = _mean_columns(images, EVERYTHING_METRICS)
            figures.append({"dataset": dataset, "n": len(images), **values})
        overall = _mean_columns(figures, EVERYTHING_METRICS)
        figures.append({"dataset": ALL, "n": len(members), **overall})
        lines += [{**head, **line} for line in figures]
    return lines


def _tabulate_costs(rows: Sequence[Row]) -> list[Line]:
    """Seconds and memory by model and kind of stack."""
    lines = []
    for (model,), members in group_rows(rows, "model").items():
        peaks = [row["peak_bytes"] for row in members if "peak_bytes" in row]
        timed = [row for row in members if "seconds" in row]
        for (kind,), answers in group_rows(timed, "kind").items():
            first = column_of(select(object_rows(answers), round=1), "seconds")
            later = [row["seconds"] for row in answers if row["round"] > 1]
            lines.append(
                {
                    "model": model,
                    "kind": kind,
                    "first_seconds": _median(first),
                    "later_seconds": _median(later),
                    "peak_bytes": max(peaks, default=0),
                }
            )
    return lines


def _mean_columns(rows: Sequence[Line], names: Iterable[str]) -> Line:
    return {name: mean_of(column_of(rows, name)) for name in names}


def _median(values: Sequence[float]) -> float:
    if not values:
        return math.nan
    return float(np.median(values))
