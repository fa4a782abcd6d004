"""Figures of the report."""

from __future__ import annotations

import math

import pytest

from segscope.evaluate.plots import boxes, curves, reliability

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
CURVE = {
    "model": "mini",
    "choose": "predicted",
    "dice": [0.5, 0.7],
    "low": [math.nan, math.nan],
    "high": [math.nan, math.nan],
}
BIN = {"n": 3, "predicted": 0.8, "true": 0.7}


def test_figures_are_svg_in_the_colour_of_the_page_and_repeatable() -> None:
    lines = [CURVE, {**CURVE, "choose": "oracle", "low": [0.4, 0.6], "high": [0.6, 0.8]}]
    figures = [
        curves(lines, "clicks:2, images"),
        boxes({"one": {"a": [0.1, 0.5, math.nan], "b": []}, "two": {"a": [0.2]}}, "box", "dice"),
        reliability([{"prompt": "box", "bins": [BIN, {**BIN, "n": 0}]}], "mini"),
    ]
    for figure in figures:
        assert figure.startswith("<svg")
        assert "currentColor" in figure
        assert "#010203" not in figure
    assert "mini (oracle)" in figures[0]
    assert curves(lines, "clicks:2, images") == figures[0]
