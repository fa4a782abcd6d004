"""Summary: from rows to the figures that are reported, the same numbers for people and for
summary.json.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import UsageError
from segscope.evaluate import statistics
from segscope.evaluate.results_log import Row
from segscope.metrics import METRICS, Metric, lookup
from segscope.metrics.calibration import calibration
from segscope.metrics.interactive import CLICK_ROUNDS, area, challenge_scores, clicks_needed, held

ALL = "all sets"
RESAMPLES = 2000  # of the mean over sets; that of one set takes statistics.RESAMPLES
PLAY = ("model", "dataset", "case", "object", "prompt", "choose", "degrade", "seed")
NOC_AT = (0.85, 0.9)
APART = {
    "dice@prompted": replace(
        METRICS["dice"], text="dice of the frames that were prompted, together"
    ),
    "dice@propagated": replace(
        METRICS["dice"], text="dice of all other frames, which tracking reached, together"
    ),
}
"""What is measured besides where stacks are tracked: a prompted frame must not hide what memory is
worth.
"""

Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Summary:
    """All figures of an evaluation, as plain values.

    Attributes:
        header: protocol, models, data sets and versions.
        machine: where it ran.
        warnings: what to know before believing a figure.
        failed: cases that could not be judged, with the reason.
        lines: one for each data set (and `ALL`), model, prompt, choice of mask and disturbance:
            counts and, for each metric, mean, median, SD and 95 % interval over patients.
        curves: Dice by round of prompts, with its normalised area and the clicks needed for Dice
            0.85 and 0.90.
        comparisons: each pair of models on the same cases and prompts.
        strata: lines by modality and by size.
        calibration: predicted against true IoU by model and prompt.
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
        return _plain(asdict(self))

    def say(self) -> list[str]:
        """The overall figures, a line each, for a terminal."""
        texts = []
        for line in self.lines:
            if line["dataset"] != ALL or line["degrade"] != "none":
                continue
            name, figure = next(iter(line["metrics"].items()))
            oracle = ""
            if line["choose"] == "oracle":
                oracle = " (oracle)"
            texts.append(
                f"{line['model']:<14} {line['kind']:<8} {line['prompt'] + oracle:<26} {name} {figure['mean']:.3f} "
                f"({figure['low']:.3f} to {figure['high']:.3f}), n {line['n_valid']}, missed {line['n_missed']}"
            )
        for line in self.everything:
            if line["dataset"] == ALL:
                texts.append(f"{line['model']:<14} image  everything                 AP@50 {line['ap@50']:.3f}, "
                             f"F1@50 {line['f1@50']:.3f}, n {line['n']} images")  # fmt: skip
        return texts


def summarise(
    rows: Sequence[Row], header: Mapping[str, Any], warnings: list[str], machine: Mapping[str, Any]
) -> Summary:
    """All figures of rows; the order of rows does not matter."""
    failed = [row for row in rows if "failed" in row]
    played = [row for row in rows if "round" in row and row["object"] != "all"]
    last = last_rounds(rows)
    whole = [row for row in rows if row.get("object") == "all"]
    return Summary(
        header=header,
        machine=machine,
        warnings=warnings,
        failed=failed,
        lines=_lines(last),
        curves=_curves(played),
        comparisons=_comparisons(last),
        strata=_strata(last),
        calibration=_calibration(played),
        everything=_everything(whole),
        challenge=_challenge(played) if header["protocol"]["cvpr25"] else [],
        costs=_costs(rows),
    )


def metrics_of(rows: Sequence[Row]) -> list[str]:
    """Names of the metrics of rows of one kind of stack, in the order in which they were asked for."""
    if rows:
        return [key for key in rows[0] if is_metric(key)]
    return []


def mean(rows: Sequence[Row], name: str) -> statistics.Summary:
    """Of last rounds, of one or several data sets, by patient."""
    # the same patient number in two sets is two patients
    return statistics.summary(
        *_patients([{**row, "group": (row["dataset"], row["group"])} for row in rows], name)
    )


def gain(before: Sequence[Row], after: Sequence[Row], name: str) -> statistics.Summary:
    """The same of the second less the first, where both were asked the same."""
    known = {(row["dataset"], *_key(row)): row[name] for row in before}
    pairs = [(row, known.get((row["dataset"], *_key(row)))) for row in after]
    return mean(
        [{**row, name: row[name] - other} for row, other in pairs if other is not None], name
    )


def described(name: str) -> Metric:
    """What a column of scores is.

    Raises:
        UsageError: no such metric.
    """
    if name in APART:
        return APART[name]
    return lookup(name)


def is_metric(name: str) -> bool:
    """Whether a column holds scores."""
    try:
        described(name)
    except UsageError:
        return False
    return True


def depends_on_scale(name: str) -> bool:
    """Whether a metric means something else in pixels than in millimetres."""
    return bool(described(name).unit) or name.startswith("nsd")


def last_rounds(rows: Iterable[Row]) -> list[Row]:
    """The last round of each play on an object."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in (row for row in rows if "round" in row and row["object"] != "all"):
        key = tuple(row[name] for name in PLAY)
        if key not in found or row["round"] > found[key]["round"]:
            found[key] = row
    return list(found.values())


def _by(rows: Iterable[Row], *names: str) -> dict[tuple[Any, ...], list[Row]]:
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[name] for name in names)].append(row)
    return dict(sorted(groups.items(), key=lambda item: tuple(map(str, item[0]))))


def _patients(rows: Sequence[Row], name: str) -> tuple[NDArray[np.float64], list[Hashable]]:
    """Scores of each patient and class, and the patient of each: objects and seeds of one class are
    averaged.
    """
    table: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for row in rows:
        table[row["group"], row["label"]].append(row[name])
    keys = sorted(table, key=str)
    values = [_mean(table[key]) for key in keys]
    return np.array(values), [key[0] for key in keys]


def _mean(values: Iterable[float]) -> float:
    kept = [value for value in values if not math.isnan(value)]
    if kept:
        return math.fsum(kept) / len(kept)
    return math.nan


# --- lines ---------------------------------------------------------------------------------------


def _lines(last: Sequence[Row]) -> list[Line]:
    lines = []
    for key, rows in _by(last, "kind", "model", "prompt", "choose", "degrade").items():
        head = dict(zip(("kind", "model", "prompt", "choose", "degrade"), key, strict=True))
        sets = _by(rows, "dataset")
        figures = {dataset: _figures(members) for (dataset,), members in sets.items()}
        lines += [{**head, "dataset": dataset, **figures[dataset]} for dataset in figures]
        lines.append(
            {**head, "dataset": ALL, **_overall(list(sets.values()), list(figures.values()))}
        )
    return lines


def _figures(rows: Sequence[Row]) -> Line:
    counts = statistics.counts(row["outcome"] for row in rows)
    names = metrics_of(rows)
    figures: Line = {
        "n": counts.n,
        "n_valid": counts.n_valid,
        "n_missed": counts.n_missed,
        "n_false_alarm": counts.n_false_alarm,
        "n_patients": len({row["group"] for row in rows}),
        "n_failures": sum(row["dice"] < 0.5 for row in rows) if "dice" in names else None,
        "unit": "/".join(sorted({row["unit"] for row in rows})),
        "metrics": {},
    }
    for name in names:
        found = statistics.summary(*_patients(rows, name))
        figures["metrics"][name] = {
            "mean": found.mean,
            "low": found.interval.low,
            "high": found.interval.high,
            "median": found.median,
            "sd": found.sd,
        }
    if len({row["seed"] for row in rows}) > 1:
        groups = [row["group"] for row in rows]
        seeds = [row["seed"] for row in rows]
        patients, between = statistics.spread([row[names[0]] for row in rows], groups, seeds)
        figures |= {"sd_patients": patients, "sd_seeds": between}
    return figures


def _overall(sets: Sequence[Sequence[Row]], figures: Sequence[Line]) -> Line:
    """Mean of the sets' means; its interval draws patients within each set."""
    totals = ("n", "n_valid", "n_missed", "n_false_alarm", "n_patients")
    failures = [figure["n_failures"] for figure in figures]
    line: Line = {key: sum(figure[key] for figure in figures) for key in totals}
    line["n_failures"] = sum(failures) if None not in failures else None
    line["unit"] = "/".join(sorted({figure["unit"] for figure in figures}))
    line["metrics"] = {}
    for name in dict.fromkeys(name for figure in figures for name in figure["metrics"]):
        if "/" in line["unit"] and depends_on_scale(name):  # millimetres and pixels have no mean
            line["metrics"][name] = dict.fromkeys(("mean", "low", "high", "median", "sd"), math.nan)
            continue
        means = [figure["metrics"][name]["mean"] for figure in figures if name in figure["metrics"]]
        low, high = _between(sets, name)
        line["metrics"][name] = {
            "mean": _mean(means),
            "low": low,
            "high": high,
            "median": math.nan,
            "sd": math.nan,
        }
    return line


def _between(sets: Sequence[Sequence[Row]], name: str) -> tuple[float, float]:
    """95 % interval of the mean over sets; sets of fewer than two patients are held fixed."""
    rng = np.random.default_rng(0)
    drawn = []
    for rows in sets:
        values, groups = _patients(rows, name)
        means = np.sort(
            [_mean(values[[g == group for g in groups]]) for group in dict.fromkeys(groups)]
        )
        means = means[~np.isnan(means)]
        if len(means):
            drawn.append(means[rng.integers(0, len(means), (RESAMPLES, len(means)))].mean(1))
    if not drawn or all(np.ptp(values) == 0 for values in drawn):
        return math.nan, math.nan
    low, high = np.percentile(np.mean(drawn, axis=0), [2.5, 97.5])
    return float(low), float(high)


# --- curves --------------------------------------------------------------------------------------


def _curves(played: Sequence[Row]) -> list[Line]:
    """Dice by round, of every prompt that has rounds."""
    lines = []
    for key, rows in _by(played, "kind", "model", "prompt", "choose", "degrade").items():
        rounds = max(row["round"] for row in rows)
        if rounds < 2 or "dice" not in rows[0]:
            continue
        head = dict(zip(("kind", "model", "prompt", "choose", "degrade"), key, strict=True))
        sets = _by(rows, "dataset")
        each = {dataset: _curve(members, rounds) for (dataset,), members in sets.items()}
        lines += [{**head, "dataset": dataset, **curve} for dataset, curve in each.items()]
        mean = {
            name: np.mean([curve[name] for curve in each.values()], axis=0).tolist()
            for name in ("dice", "auc", *(f"noc@{at}" for at in NOC_AT))
        }
        lows, highs = zip(
            *(_between([_held(r, k) for r in sets.values()], "dice") for k in range(rounds)),
            strict=True,
        )
        lines.append({**head, "dataset": ALL, **mean, "low": list(lows), "high": list(highs)})
    return lines


def _plays(rows: Iterable[Row]) -> list[list[Row]]:
    """Rounds of each play, in order."""
    return [sorted(play, key=lambda row: row["round"]) for play in _by(rows, *PLAY).values()]


def _held(rows: Iterable[Row], index: int) -> list[Row]:
    """What each play had reached by a round (from 0)."""
    return [play[min(index, len(play) - 1)] for play in _plays(rows)]


def _curve(rows: Sequence[Row], rounds: int) -> Line:
    plays = _plays(rows)
    table = [held([row["dice"] for row in play], rounds) for play in plays]
    at_round = [statistics.summary(*_patients(_held(rows, k), "dice")) for k in range(rounds)]
    return {
        "dice": [found.mean for found in at_round],
        "low": [found.interval.low for found in at_round],
        "high": [found.interval.high for found in at_round],
        "auc": _mean(area(curve) for curve in table),
        **{
            f"noc@{at}": _mean(clicks_needed(curve, at, rounds) for curve in table) for at in NOC_AT
        },
    }


# --- comparisons, strata, calibration ------------------------------------------------------------


def _comparisons(last: Sequence[Row]) -> list[Line]:
    """Each pair of models, on what both were asked."""
    heads = []
    found = []
    for key, rows in _by(last, "kind", "dataset", "prompt", "choose", "degrade").items():
        models = _by(rows, "model")
        names = metrics_of(rows)[:1]
        for (one,), (two,) in itertools.combinations(models, 2):
            groups: dict[Hashable, Hashable] = {_key(row): row["group"] for row in rows}
            head = dict(zip(("kind", "dataset", "prompt", "choose", "degrade"), key, strict=True))
            heads.append({**head, "first": one, "second": two, "metric": names[0]})
            first, second = (_keyed(models[name,], names[0]) for name in (one, two))
            found.append(statistics.compare(first, second, groups))
    return [
        {
            **head,
            "n_pairs": result.n_pairs,
            "n_patients": result.n_groups,
            "difference": result.median_difference,
            "low": result.interval.low,
            "high": result.interval.high,
            "p": result.p,
            "p_holm": result.p_holm,
        }
        for head, result in zip(heads, statistics.corrected(found), strict=True)
    ]


def _key(row: Row) -> tuple[Any, ...]:
    return (row["case"], row["object"], row["seed"])


def _keyed(rows: Iterable[Row], name: str) -> dict[Hashable, float]:
    return {_key(row): row[name] for row in rows}


def size_of(pixels: int) -> str:
    """Size class of an object on the frame where it is largest (limits of COCO)."""
    if pixels < 32**2:
        return "small"
    if pixels < 96**2:
        return "medium"
    return "large"


def _strata(last: Sequence[Row]) -> list[Line]:
    lines = []
    plain = [row for row in last if row["degrade"] == "none" and row["choose"] == "predicted"]
    for by, of in (
        ("modality", lambda row: row["modality"] or "not said"),
        ("size", lambda row: size_of(row["pixels"])),
    ):
        marked = [{**row, "stratum": of(row)} for row in plain]
        if len({row["stratum"] for row in marked}) < 2:
            continue
        for (kind, stratum, model, prompt), rows in _by(
            marked, "kind", "stratum", "model", "prompt"
        ).items():
            head = {"by": by, "stratum": stratum, "kind": kind, "model": model, "prompt": prompt}
            # the same patient number in two sets is two patients
            unique = [{**row, "group": (row["dataset"], row["group"])} for row in rows]
            lines.append({**head, **_figures(unique)})
    return lines


def _calibration(played: Sequence[Row]) -> list[Line]:
    """Of the first answer to each prompt."""
    lines = []
    first = [
        row
        for row in played
        if row["round"] == 1 and row["true_iou"] is not None and row["degrade"] == "none"
    ]
    for (model, prompt, choose), rows in _by(first, "model", "prompt", "choose").items():
        if prompt.startswith("mask") or choose != "predicted":
            continue  # a mask that was given is the answer
        found = calibration(
            [row["predicted_iou"] for row in rows], [row["true_iou"] for row in rows]
        )
        lines.append({"model": model, "prompt": prompt, **asdict(found)})
    return lines


def _everything(whole: Sequence[Row]) -> list[Line]:
    names = (
        "ap@50",
        "f1@50",
        "precision@50",
        "recall@50",
        "pq",
        "ap@75",
        "aji",
        "oracle_union_dice",
    )
    lines = []
    for (model, degrade), rows in _by(whole, "model", "degrade").items():
        each = []
        for (dataset,), members in _by(rows, "dataset").items():
            values = {name: _mean(row[name] for row in members) for name in names}
            each.append({"dataset": dataset, "n": len(members), **values})
        overall = {name: _mean(line[name] for line in each) for name in names}
        each.append({"dataset": ALL, "n": len(rows), **overall})
        lines += [{"model": model, "degrade": degrade, **line} for line in each]
    return lines


def _challenge(played: Sequence[Row]) -> list[Line]:
    """Scores of the CVPR 2025 challenge: by case over its classes, then the mean of cases."""
    lines = []
    chosen = [row for row in played if row["kind"] == "volume" and "challenge_dice" in row]
    for (dataset, model, prompt), rows in _by(chosen, "dataset", "model", "prompt").items():
        scores = []
        for case in _by(rows, "case", "seed").values():
            plays = _plays(case)
            boxed = not prompt.startswith("click")
            dice, nsd = (
                np.array(
                    [held([row[name] for row in play], CLICK_ROUNDS + boxed) for play in plays]
                ).T
                for name in ("challenge_dice", "challenge_nsd")
            )
            if not boxed:
                dice, nsd = (
                    np.vstack([np.full(table.shape[1], np.nan), table]) for table in (dice, nsd)
                )
            seconds = sum(row["seconds"] for play in plays for row in play)
            scores.append(asdict(challenge_scores(dice, nsd, seconds)))
        means = {name: _mean(score[name] for score in scores) for name in scores[0]}
        lines.append(
            {"dataset": dataset, "model": model, "prompt": prompt, "n": len(scores), **means}
        )
    return lines


def _costs(rows: Sequence[Row]) -> list[Line]:
    lines = []
    for (model,), members in _by(rows, "model").items():
        answered = [row for row in members if "seconds" in row]
        for kind in sorted({row["kind"] for row in answered}):
            firsts = [
                r["seconds"]
                for r in answered
                if r["kind"] == kind and r["round"] == 1 and r["object"] != "all"
            ]
            later = [r["seconds"] for r in answered if r["kind"] == kind and r["round"] > 1]
            lines.append(
                {
                    "model": model,
                    "kind": kind,
                    "first_seconds": float(np.median(firsts)) if firsts else math.nan,
                    "later_seconds": float(np.median(later)) if later else math.nan,
                    "peak_bytes": max(
                        (row["peak_bytes"] for row in members if "peak_bytes" in row), default=0
                    ),
                }
            )
    return lines


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
