"""Figures of the report: SVG that takes the colour of the page, so that it reads in light and dark
and prints well.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from segscope._optional import require

# told apart with any of the common colour-vision deficiencies (after Okabe and Ito)
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c7a00", "#7f7f7f")
_INK = "#010203"  # replaced by the page's colour


def _axes(width: float, height: float) -> tuple[Any, Any]:
    require("matplotlib", "report", "draw the report")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_INK)
    axes.tick_params(colors=_INK, labelsize=8)
    axes.grid(axis="y", color=_INK, alpha=0.15, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _svg(figure: Any, axes: Any, title: str, x: str, y: str) -> str:
    import matplotlib as mpl

    axes.set_title(title, fontsize=9, color=_INK, loc="left")
    axes.set_xlabel(x, fontsize=8, color=_INK)
    axes.set_ylabel(y, fontsize=8, color=_INK)
    legend = axes.get_legend()
    for text in legend.get_texts() if legend else ():
        text.set_color(_INK)
    out = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "segscope"}):
        figure.savefig(
            out, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    text = out.getvalue()
    return text[text.index("<svg") :].replace(_INK, "currentColor")


def curves(lines: Sequence[Mapping[str, Any]], title: str) -> str:
    """Dice by round of prompts, a line for each model and choice of mask, with bands."""
    figure, axes = _axes(4.2, 2.9)
    for colour, line in zip(COLOURS, lines, strict=False):
        x = np.arange(1, len(line["dice"]) + 1)
        oracle = line["choose"] == "oracle"
        if oracle:
            label = f"{line['model']} (oracle)"
        else:
            label = line["model"]
        axes.plot(
            x,
            line["dice"],
            color=colour,
            marker="o",
            markersize=3.5,
            ls="--" if oracle else "-",
            label=label,
        )
        if not np.isnan(line["low"]).all():
            axes.fill_between(x, line["low"], line["high"], color=colour, alpha=0.15, linewidth=0)
    axes.set_ylim(0, 1)
    axes.set_xticks(range(1, max(len(line["dice"]) for line in lines) + 1))
    axes.legend(fontsize=7, frameon=False, loc="lower right")
    return _svg(figure, axes, title, "round of prompts", "Dice")


def boxes(values: Mapping[str, Mapping[str, Sequence[float]]], title: str, y: str) -> str:
    """Box plots: a group for each data set, a box for each series (model, or prompt) in it."""
    series = list(dict.fromkeys(name for group in values.values() for name in group))
    figure, axes = _axes(max(4.2, 0.6 + 0.34 * len(values) * (len(series) + 1)), 3.2)
    for number, name in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        at = [place * (len(series) + 1) + number for place in range(len(values))]
        each = [
            [value for value in group.get(name, ()) if not math.isnan(value)]
            for group in values.values()
        ]
        drawn = axes.boxplot(each, positions=at, widths=0.75, patch_artist=True, manage_ticks=False)
        for part in ("whiskers", "caps", "medians"):
            for line in drawn[part]:
                line.set_color(_INK)
        for box, points in zip(drawn["boxes"], drawn["fliers"], strict=True):
            box.set(facecolor=colour, alpha=0.75, edgecolor=_INK)
            points.set(marker=".", markersize=2.5, markeredgecolor=colour)
        axes.plot([], [], color=colour, linewidth=5, label=name)
    axes.set_xticks(
        [place * (len(series) + 1) + (len(series) - 1) / 2 for place in range(len(values))]
    )
    axes.set_xticklabels(list(values), rotation=40, ha="right", rotation_mode="anchor")
    axes.set_ylim(-0.02, 1.02)
    axes.legend(
        fontsize=7,
        frameon=False,
        ncols=min(4, len(series)),
        loc="lower left",
        bbox_to_anchor=(0, 1.08),
    )
    return _svg(figure, axes, title, "", y)


def reliability(lines: Sequence[Mapping[str, Any]], title: str) -> str:
    """Predicted against true IoU in bins; the size of a point says how many answers lie there."""
    figure, axes = _axes(3.4, 3.2)
    axes.plot([0, 1], [0, 1], color=_INK, alpha=0.4, linewidth=0.8)
    most = max((row["n"] for line in lines for row in line["bins"]), default=1)
    for colour, line in zip(COLOURS, lines, strict=False):
        filled = [row for row in line["bins"] if row["n"]]
        x = [row["predicted"] for row in filled]
        y = [row["true"] for row in filled]
        sizes = [8 + 60 * row["n"] / max(most, 1) for row in filled]
        axes.plot(x, y, color=colour, linewidth=1, label=line["prompt"])
        axes.scatter(x, y, s=sizes, color=colour, linewidth=0)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize=7, frameon=False, loc="upper left")
    return _svg(figure, axes, title, "predicted IoU", "true IoU")
