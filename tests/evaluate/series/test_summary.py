from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from segscope.evaluate.overall import ALL
from segscope.evaluate.results_log import Row
from segscope.evaluate.rows import Line, select
from segscope.evaluate.series.summary import FROM, SeriesSummary, summarise_series

Figures = Callable[[int, int], dict[str, Any]]
"""Columns of a row by order and position."""


def make_rows(dataset: str, plain: Figures, learned: Figures, images: int = 8) -> list[Row]:
    """Rows of two orders of a series, one image a patient."""
    rows = []
    for order in range(2):
        for position in range(1, images + 1):
            case = (position + order) % images
            for learning, figures in ((False, plain), (True, learned)):
                rows.append(
                    {
                        "model": "mini",
                        "dataset": dataset,
                        "label": "cell",
                        "order": order,
                        "position": position,
                        "case": str(case),
                        "group": str(case),
                        "frame": 0,
                        "object": "0:1",
                        "learning": learning,
                        "prompt": "clicks:20",
                        "unchanged": False,
                        "learned": learning and position > 1,
                        **figures(order, position),
                    }
                )
    return rows


def summarise(rows: list[Row]) -> SeriesSummary:
    return summarise_series(rows, {"models": {"mini": {}}}, [], {})


def always(dice: float, rounds: int) -> Figures:
    return lambda _order, _position: {"first_dice": dice, "rounds": rounds}


def line_of(summary: SeriesSummary, series: str) -> Line:
    (line,) = select(summary.lines, series=series)
    return line


def test_only_images_from_the_fourth_on_count() -> None:
    def learned(_order: int, position: int) -> dict[str, Any]:
        if position < FROM:
            return {"first_dice": 0.1, "rounds": 20}
        return {"first_dice": 0.9, "rounds": 2}

    line = line_of(summarise(make_rows("a", always(0.7, 8), learned)), "a cell")
    assert line["figures"]["first_dice"]["change"] == pytest.approx(0.2)
    assert line["figures"]["rounds"]["with"] == 2
    assert line["fewer"] == pytest.approx(0.75)
    assert line["lost"] == 0
    assert line["learned"] == 1


def test_each_series_counts_equally_and_fewer_is_a_ratio_of_means() -> None:
    rows = make_rows("a", always(0.5, 10), always(0.7, 5), images=12)
    rows += make_rows("b", always(0.9, 2), always(0.9, 2), images=6)
    line = line_of(summarise(rows), ALL)
    assert line["figures"]["first_dice"]["change"] == pytest.approx(0.1)
    assert line["figures"]["rounds"]["without"] == pytest.approx(6)
    assert line["fewer"] == pytest.approx(1 - 3.5 / 6)
    assert line["n_patients"] == 10 + 4  # whose images came fourth or later in one of the orders


def test_losses_are_counted_object_by_object() -> None:
    def learned(_order: int, position: int) -> dict[str, Any]:
        return {"first_dice": 0.6 if position == 8 else 0.75, "rounds": 8}

    line = line_of(summarise(make_rows("a", always(0.7, 8), learned)), "a cell")
    assert line["lost"] == pytest.approx(1 / 5)


def test_orders_of_one_patient_are_one_unit_of_the_interval() -> None:
    def learned(_order: int, position: int) -> dict[str, Any]:
        return {"first_dice": 0.7 + 0.01 * position, "rounds": 8}

    once = make_rows("a", always(0.7, 8), learned)
    twice = [*once, *({**row, "order": row["order"] + 2} for row in once)]
    figures = [
        line_of(summarise(rows), "a cell")["figures"]["first_dice"] for rows in (once, twice)
    ]
    assert figures[0]["low"] < figures[0]["change"] < figures[0]["high"]
    assert figures[0]["low"] == pytest.approx(figures[1]["low"])


def test_curves_go_by_the_number_of_accepted_images() -> None:
    def learned(_order: int, position: int) -> dict[str, Any]:
        return {"first_dice": 0.5 + 0.05 * position, "rounds": 20 - position}

    summary = summarise(make_rows("a", always(0.5, 20), learned))
    without, curve = summary.curves
    assert (without["learning"], curve["learning"]) == (False, True)
    assert curve["examples"] == list(range(8))
    assert curve["figures"]["rounds"]["mean"] == [19, 18, 17, 16, 15, 14, 13, 12]
    assert without["figures"]["rounds"]["mean"] == [20] * 8


def test_a_failed_series_is_reported_and_not_counted() -> None:
    rows = make_rows("a", always(0.5, 10), always(0.6, 5))
    failed = {"model": "mini", "dataset": "b", "label": "", "order": 0, "failed": "no file"}
    summary = summarise([*rows, failed])
    assert summary.failed == [failed]
    assert {line["series"] for line in summary.lines} == {"a cell", ALL}


def test_a_prompt_of_one_round_has_no_rounds() -> None:
    rows = [{**row, "prompt": "box"} for row in make_rows("a", always(0.5, 1), always(0.6, 1))]
    line = line_of(summarise(rows), ALL)
    assert "rounds" not in line["figures"]
    assert math.isnan(line["fewer"])


def test_it_is_told_to_people_and_machines() -> None:
    summary = summarise(make_rows("a", always(0.5, 10), always(0.7, 5)))
    (text,) = summary.say()
    assert "0.500 without learning, 0.700 with it" in text
    assert "50% fewer" in text
    json.dumps(summary.as_dict(), allow_nan=False)
