"""Tables of the report."""

from __future__ import annotations

import math

import pytest
from support.result_rows import HEADER, result_row

from segscope.evaluate.overall import ALL
from segscope.evaluate.summary import summarise
from segscope.evaluate.tables import (
    DASH,
    Html,
    format_number,
    render_comparisons,
    render_datasets,
    render_drops,
    render_overview,
    render_table,
)


def test_cells_are_text_unless_they_are_html_already() -> None:
    table = render_table(["<a>", "b"], [["<i>", Html("<b>1</b>")], [ALL, 2]], caption="x & y")
    assert "&lt;a&gt;" in table
    assert "<td class='text'>&lt;i&gt;</td><td><b>1</b></td>" in table
    assert "<tr class='total'>" in table
    assert "<caption>x &amp; y</caption>" in table
    assert render_table(["a"], []) == ""


@pytest.mark.parametrize(("value", "text"), [(0.12345, "0.123"), (None, DASH), (math.nan, DASH)])
def test_numbers_that_are_missing_are_dashes(value: float | None, text: str) -> None:
    assert format_number(value) == text


def test_every_figure_is_in_its_table() -> None:
    rows = [result_row(0.4, model=model, case=case, group=case) for model in "ab" for case in "cde"]
    rows += [
        result_row(0.1, model=row["model"], case=row["case"], group=row["case"], degrade="dark:5")
        for row in rows
    ]
    summary = summarise(rows, HEADER, [], {})
    (overview,) = render_overview(summary.lines)
    assert "dice ↑" in overview
    assert overview.count("0.400 <small>too few patients for an interval: 3 of 5</small>") == 2
    assert len(list(render_datasets(summary.lines))) == 2
    assert "75.0%" in render_drops(summary.lines)
    assert "+0.000" in render_comparisons(summary.comparisons)


def test_a_case_that_one_model_loses_shows_in_the_mean_difference() -> None:
    rows = []
    for case in range(20):
        place = {"case": str(case), "group": str(case)}
        rows.append(result_row(0.9, model="a", **place))
        rows.append(result_row(0.48 if case == 7 else 0.9, model="b", **place))
    table = render_comparisons(summarise(rows, HEADER, [], {}).comparisons)
    assert "<th>mean difference</th><th>95 %</th><th>median difference</th>" in table
    assert "<td>+0.021</td>" in table
    assert "<td>+0.000</td>" in table
