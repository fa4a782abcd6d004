"""Curves over rounds of prompts, and the scores of the CVPR 2025 challenge that come from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from segscope.evaluate.overall import ALL, interval_over_sets
from segscope.evaluate.results_log import Row
from segscope.evaluate.rows import (
    Line,
    by_dataset,
    column_of,
    group_rows,
    mean_of,
    rounds_of_rollouts,
    summarise_patients,
)
from segscope.metrics.interactive import (
    CLICK_ROUNDS,
    area,
    challenge_scores,
    clicks_needed,
    extend_curve,
)

NOC_THRESHOLDS = (0.85, 0.9)
COLUMNS = ("kind", "model", "prompt", "choose", "degrade")


def tabulate_curves(rows: Sequence[Row]) -> list[Line]:
    """Dice by round, of every prompt that has several rounds."""
    lines = []
    for key, members in group_rows(rows, *COLUMNS).items():
        rounds = max(column_of(members, "round"))
        if rounds < 2 or "dice" not in members[0]:
            continue
        head = dict(zip(COLUMNS, key, strict=True))
        sets = by_dataset(members)
        curves = {dataset: _curve(rollouts, rounds) for dataset, rollouts in sets.items()}
        lines += [{**head, "dataset": dataset, **curve} for dataset, curve in curves.items()]
        overall = _overall_curve(list(sets.values()), list(curves.values()), rounds)
        lines.append({**head, "dataset": ALL, **overall})
    return lines


def _curve(rows: Sequence[Row], rounds: int) -> Line:
    """Curve of one data set: mean over patients after each round."""
    rollouts = rounds_of_rollouts(rows)
    curves = [extend_curve(column_of(rollout, "dice"), rounds) for rollout in rollouts]
    after = [summarise_patients(_rows_after(rows, number), "dice") for number in range(rounds)]
    line: Line = {
        "dice": [summary.mean for summary in after],
        "low": [summary.interval.low for summary in after],
        "high": [summary.interval.high for summary in after],
        "auc": mean_of(map(area, curves)),
    }
    for threshold in NOC_THRESHOLDS:
        clicks = [clicks_needed(curve, threshold, rounds) for curve in curves]
        line[f"noc@{threshold}"] = mean_of(clicks)
    return line


def _overall_curve(sets: Sequence[Sequence[Row]], curves: Sequence[Line], rounds: int) -> Line:
    """Mean of the curves of all data sets, with the interval of that mean after each round."""
    line: Line = {}
    for name in ("dice", "auc", *(f"noc@{threshold}" for threshold in NOC_THRESHOLDS)):
        line[name] = np.mean(column_of(curves, name), axis=0).tolist()
    line["low"] = []
    line["high"] = []
    for number in range(rounds):
        reached = [_rows_after(rows, number) for rows in sets]
        interval = interval_over_sets(reached, "dice")
        line["low"].append(interval.low)
        line["high"].append(interval.high)
    return line


def _rows_after(rows: Iterable[Row], number: int) -> list[Row]:
    """The row of each rollout after a round (from 0), or its last row if it ended earlier."""
    return [rounds[min(number, len(rounds) - 1)] for rounds in rounds_of_rollouts(rows)]


def tabulate_challenge(rows: Sequence[Row]) -> list[Line]:
    """Scores of the CVPR 2025 challenge: by case over its classes, then the mean of cases."""
    scored = [row for row in rows if row["kind"] == "volume" and "challenge_dice" in row]
    lines = []
    for (dataset, model, prompt), members in group_rows(
        scored, "dataset", "model", "prompt"
    ).items():
        boxed = not str(prompt).startswith("click")
        cases = group_rows(members, "case", "seed").values()
        scores = [_score_case(case, boxed=boxed) for case in cases]
        means = {name: mean_of(column_of(scores, name)) for name in scores[0]}
        head = {"dataset": dataset, "model": model, "prompt": prompt, "n": len(scores)}
        lines.append({**head, **means})
    return lines


def _score_case(rows: Sequence[Row], *, boxed: bool) -> dict[str, float]:
    rollouts = rounds_of_rollouts(rows)
    seconds = sum(row["seconds"] for rollout in rollouts for row in rollout)
    dice = _challenge_table(rollouts, "challenge_dice", boxed=boxed)
    nsd = _challenge_table(rollouts, "challenge_nsd", boxed=boxed)
    return asdict(challenge_scores(dice, nsd, seconds))


def _challenge_table(
    rollouts: Sequence[Sequence[Row]], name: str, *, boxed: bool
) -> NDArray[np.float64]:
    """Scores (round, class); without a box the first row is NaN."""
    rounds = CLICK_ROUNDS + boxed
    curves = [extend_curve(column_of(rollout, name), rounds) for rollout in rollouts]
    table = np.array(curves).T
    if boxed:
        return table
    return np.vstack([np.full(table.shape[1], np.nan), table])
