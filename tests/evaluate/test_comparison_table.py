"""The table of compared methods; whole comparisons are in tests/cli."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from segscope.evaluate.comparison_table import ComparisonRow, format_table, write_table

ROWS = [
    ComparisonRow(
        "lora",
        "",
        "box.jitter",
        1_200,
        2.5,
        40,
        30,
        0.5,
        0.75,
        0.25,
        0.125,
        0.375,
        6,
        "few patients",
    ),
    ComparisonRow(
        "decoder",
        "",
        "none",
        10,
        1.0,
        5,
        0,
        0.5,
        0.5,
        0.0,
        patients=1,
        note="too few patients for an interval: 1 of 5",
    ),
    ComparisonRow("knowsam", "needs cases without truth | more"),
]


def test_a_row_says_what_was_gained_or_why_not() -> None:
    head, _, lora, decoder, knowsam = format_table(ROWS).splitlines()
    assert head.startswith("| method | prompt | trainable parameters |")
    assert (
        "| 1,200 | 2.5 | 30 of 40 | 0.500 | 0.750 | +0.250 (+0.125 to +0.375, few patients), n 6 |"
        in lora
    )
    assert "no gain shown" not in lora
    assert "no gain shown: no step improved on the base by more than chance" in decoder
    assert "(too few patients for an interval: 1 of 5), n 1" in decoder
    assert knowsam.endswith("| needs cases without truth / more |")
    assert {line.count("|") for line in (head, lora, decoder, knowsam)} == {10}


def test_the_files_have_the_same_rows(tmp_path: Path) -> None:
    write_table(tmp_path, "mini adapted to ellipses", ROWS, {"base": "mini"})
    lines = list(csv.DictReader((tmp_path / "comparison.csv").read_text().splitlines()))
    document = json.loads((tmp_path / "comparison.json").read_text())
    assert [line["method"] for line in lines] == ["lora", "decoder", "knowsam"]
    assert document["rows"][2]["before"] is None
    assert lines[2]["before"] == ""
    assert document["base"] == "mini"
    assert format_table(ROWS) in (tmp_path / "comparison.md").read_text()
