"""Figures of one and of several data sets."""

from __future__ import annotations

import math
from typing import Any

import pytest
from support.result_rows import HEADER, result_row

from segscope.evaluate.overall import ALL
from segscope.evaluate.summary import summarise


def lines(rows: list[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    found = summarise(rows, HEADER, [], {}).lines
    return [line for line in found if all(line[key] == value for key, value in wanted.items())]


def test_empty_truth_leaves_the_mean_and_is_counted() -> None:
    rows = [
        result_row(0.5),
        result_row(math.nan, case="d", group="h", outcome="false_alarm"),
        result_row(0.0, case="e", outcome="missed"),
    ]
    (line,) = lines(rows, dataset="one")
    assert (line["n_valid"], line["n_missed"], line["n_false_alarm"]) == (2, 1, 1)
    assert line["metrics"]["dice"]["mean"] == pytest.approx(0.25)


def test_the_interval_over_sets_holds_the_mean() -> None:
    rows = [result_row(value, dataset=name, case=str(k), group=str(k))
            for name in ("one", "two") for k, value in enumerate((0.1, 0.5, 0.6, 0.8))]  # fmt: skip
    (total,) = lines(rows, dataset=ALL)
    figure = total["metrics"]["dice"]
    assert figure["low"] < figure["mean"] == pytest.approx(0.5)
    assert figure["mean"] < figure["high"]


def test_one_set_and_all_sets_have_the_same_interval() -> None:
    values = (0.31, 0.5, 0.62, 0.8, 0.85, 0.9, 0.91)
    rows = [result_row(value, case=str(k), group=str(k)) for k, value in enumerate(values)]
    (total,) = lines(rows, dataset=ALL)
    (only,) = lines(rows, dataset="one")
    for name in ("mean", "low", "high", "note"):
        assert total["metrics"]["dice"][name] == only["metrics"]["dice"][name]
    assert only["metrics"]["dice"]["note"] == "few patients"
