"""Summary of series: what learning changes from the fourth image on, and image by image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from segscope.evaluate.overall import ALL
from segscope.evaluate.results_log import Row
from segscope.evaluate.rows import Line, column_of, group_rows, mean_of, select, to_plain
from segscope.metrics.intervals import LEAST_PATIENTS, Interval, mean_interval_of_sets
from segscope.simulate.plan import Plan

FROM = 4  # number of the first image that counts: three are examples by then
LOSS = 0.02  # Dice; a first answer that loses more than this is counted
FIGURES = ("first_dice", "unchanged", "rounds")


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """All figures of series, as plain values.

    Attributes:
        header: protocol, models, data sets and versions.
        machine: where it ran.
        warnings: what to know before believing a figure.
        failed: series that could not be evaluated, with the reason.
        lines: one for each series (and `ALL`), model and prompt, from the fourth image on: each
            figure without and with learning, and its change with a 95 % interval over patients.
        curves: the same figures by number of accepted images, means over series.
    """

    header: Mapping[str, Any]
    machine: Mapping[str, Any]
    warnings: list[str]
    failed: list[Row]
    lines: list[Line]
    curves: list[Line]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: NaN as null."""
        return to_plain(asdict(self))

    def say(self) -> list[str]:
        """The overall figures, a line each, for a terminal."""
        return [_describe(line) for line in self.lines if line["series"] == ALL]


def _describe(line: Line) -> str:
    figures = line["figures"]
    dice = figures["first_dice"]
    text = (
        f"{line['model']:<14} {line['prompt']:<14} from image {FROM} on: Dice "
        f"{dice['without']:.3f} without learning, {dice['with']:.3f} with it "
        f"({_describe_change(dice, 3)})"
    )
    rounds = figures.get("rounds")
    if rounds is not None:
        text += (
            f"; {rounds['without']:.1f} and {rounds['with']:.1f} rounds until accepted, "
            f"{line['fewer']:.0%} fewer ({_describe_change(rounds, 1)})"
        )
    return text


def _describe_change(figure: Mapping[str, Any], digits: int) -> str:
    text = f"{figure['change']:+.{digits}f}"
    if not math.isnan(figure["low"]):
        text += f", {figure['low']:+.{digits}f} to {figure['high']:+.{digits}f}"
    return text


def summarise_series(
    rows: Sequence[Row],
    header: Mapping[str, Any],
    warnings: Iterable[str],
    machine: Mapping[str, Any],
) -> SeriesSummary:
    """Summarise the rows of `run_series`.

    Args:
        header: protocol, models, data sets and versions.
        warnings: what to know before believing a figure.
        machine: where it ran.
    """
    measured = [row for row in rows if "failed" not in row]
    failed = [row for row in rows if "failed" in row]
    lines: list[Line] = []
    curves: list[Line] = []
    for (model, prompt), members in group_rows(measured, "model", "prompt").items():
        head = {"model": model, "prompt": prompt}
        series = {name_series(key): own for key, own in _by_series(members).items()}
        pairs = {name: _pair(own) for name, own in series.items()}
        lines += [{**head, **line} for line in _list_lines(pairs)]
        curves += [{**head, **curve} for curve in _list_curves(pairs)]
    return SeriesSummary(header, machine, [*warnings], failed, lines, curves)


def _by_series(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    groups = group_rows(rows, "dataset", "label")
    return {(str(dataset), str(label)): own for (dataset, label), own in groups.items()}


def name_series(key: tuple[str, str]) -> str:
    """Data set and class."""
    return " ".join(filter(None, key))


# --- pairs ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pair:
    """One image in one order, without and with learning."""

    without: Row
    learned: Row

    @property
    def position(self) -> int:
        return int(self.without["position"])

    def change(self, name: str) -> float:
        return float(self.learned[name]) - float(self.without[name])


def _pair(rows: Sequence[Row]) -> list[_Pair]:
    learned = {_place(row): row for row in select(rows, learning=True)}
    return [_Pair(row, learned[_place(row)]) for row in select(rows, learning=False)]


def _place(row: Row) -> tuple[int, int]:
    return int(row["order"]), int(row["position"])


def _figures_of(pairs: Sequence[_Pair]) -> tuple[str, ...]:
    """Columns that say something about the prompt: rounds where it has several."""
    if Plan.parse(pairs[0].without["prompt"]).rounds > 1:
        return FIGURES
    return FIGURES[:-1]


# --- lines ---------------------------------------------------------------------------------------


def _list_lines(series: Mapping[str, Sequence[_Pair]]) -> list[Line]:
    """A line for each series, and one for all together."""
    late = {
        name: [pair for pair in pairs if pair.position >= FROM] for name, pairs in series.items()
    }
    late = {name: pairs for name, pairs in late.items() if pairs}
    lines = [_line(name, [pairs]) for name, pairs in late.items()]
    if lines:
        lines.append(_line(ALL, list(late.values())))
    return lines


def _line(name: str, series: Sequence[Sequence[_Pair]]) -> Line:
    """Means over series, each of its images in all orders."""
    figures: Line = {}
    for figure in _figures_of(series[0]):
        without = mean_of(_mean(column_of(_without(pairs), figure)) for pairs in series)
        learned = mean_of(_mean(column_of(_learned(pairs), figure)) for pairs in series)
        interval = _interval(series, figure)
        figures[figure] = {
            "without": without,
            "with": learned,
            "change": learned - without,
            "low": interval.low,
            "high": interval.high,
            "note": interval.note,
        }
    line: Line = {
        "series": name,
        "n": sum(len({_image(pair) for pair in pairs}) for pairs in series),
        "n_patients": sum(len(set(column_of(_without(pairs), "group"))) for pairs in series),
        "figures": figures,
        "lost": mean_of(_mean([p.change("first_dice") < -LOSS for p in pairs]) for pairs in series),
        "learned": mean_of(_mean(column_of(_learned(pairs), "learned")) for pairs in series),
        "fewer": math.nan,
    }
    if "rounds" in figures:
        line["fewer"] = 1 - figures["rounds"]["with"] / figures["rounds"]["without"]
    return line


def _interval(series: Sequence[Sequence[_Pair]], figure: str) -> Interval:
    """Of the mean change; units are patients, or images where a series has few patients."""
    return mean_interval_of_sets([_unit_changes(pairs, figure) for pairs in series])


def _unit_changes(pairs: Sequence[_Pair], figure: str) -> list[float]:
    by_patient = len(set(column_of(_without(pairs), "group"))) >= LEAST_PATIENTS
    changes: dict[object, list[float]] = {}
    for pair in pairs:
        unit: object = pair.without["group"]
        if not by_patient:
            unit = _image(pair)
        changes.setdefault(unit, []).append(pair.change(figure))
    return [_mean(values) for values in changes.values()]


# --- curves --------------------------------------------------------------------------------------


def _list_curves(series: Mapping[str, Sequence[_Pair]]) -> list[Line]:
    """Two curves, without and with learning, as far as at least half of the series go."""
    lengths = [max(pair.position for pair in pairs) for pairs in series.values()]
    length = int(np.quantile(lengths, 0.5, method="lower"))
    curves = []
    for learning in (False, True):
        curve: Line = {"learning": learning, "examples": list(range(length)), "figures": {}}
        for figure in _figures_of(next(iter(series.values()))):
            points = [
                _point(series.values(), position, figure, learning=learning)
                for position in range(1, length + 1)
            ]
            names = ("mean", "low", "high")
            columns = zip(*points, strict=True)
            curve["figures"][figure] = {
                name: list(values) for name, values in zip(names, columns, strict=True)
            }
        curves.append(curve)
    return curves


def _point(
    series: Iterable[Sequence[_Pair]], position: int, figure: str, *, learning: bool
) -> tuple[float, float, float]:
    """Mean over series at one position, with its interval."""
    sets = []
    for pairs in series:
        here = [pair for pair in pairs if pair.position == position]
        rows = _learned(here) if learning else _without(here)
        if rows:
            sets.append([float(value) for value in column_of(rows, figure)])
    interval = mean_interval_of_sets(sets)
    return mean_of(map(_mean, sets)), interval.low, interval.high


def _without(pairs: Iterable[_Pair]) -> list[Row]:
    return [pair.without for pair in pairs]


def _learned(pairs: Iterable[_Pair]) -> list[Row]:
    return [pair.learned for pair in pairs]


def _image(pair: _Pair) -> tuple[str, int, str]:
    row = pair.without
    return row["case"], row["frame"], row["object"]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
