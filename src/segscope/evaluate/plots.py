"""Figures of the report: SVG in the text colour of the page, so that they are legible in light and
dark mode and in print.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from itertools import chain, filterfalse
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from segscope._optional import require
from segscope.evaluate.rows import Line, column_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# distinguishable with all common colour-vision deficiencies (after Okabe and Ito)
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c7a00", "#7f7f7f")
_INK = "#010203"  # replaced by the page's colour


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    require("matplotlib", "report", "draw the report")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)
    axes.tick_params(colors=_INK, labelsize=8)
    axes.grid(axis="y", color=_INK, alpha=0.15, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _svg(
    figure: Figure,
    axes: Axes,
    title: str,
    x: str,
    y: str,
) -> str:
    import matplotlib as mpl

    axes.set_title(title, fontsize=9, color=_INK, loc="left")
    axes.set_xlabel(x, fontsize=8, color=_INK)
    axes.set_ylabel(y, fontsize=8, color=_INK)
    legend = axes.get_legend()
    if legend is not None:
        for entry in legend.get_texts():
            entry.set_color(_INK)
    out = io.StringIO()
    undated = {"Date": None, "Creator": None}  # equal figures make equal files
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "segscope"}):
        figure.savefig(out, format="svg", transparent=True, metadata=undated)
    text = out.getvalue()
    return text[text.index("<svg") :].replace(_INK, "currentColor")


def curves(lines: Sequence[Line], title: str) -> str:
    """Dice by round of prompts, with bands: a line for each model and choice of mask."""
    figure, axes = _axes(4.2, 2.9)
    for colour, line in zip(COLOURS, lines, strict=False):
        _plot_curve(axes, line, colour)
    rounds = max(len(line["dice"]) for line in lines)
    axes.set_ylim(0, 1)
    axes.set_xticks(range(1, rounds + 1))
    axes.legend(fontsize=7, frameon=False, loc="lower right")
    return _svg(figure, axes, title, "round of prompts", "Dice")


def _plot_curve(axes: Axes, line: Line, colour: str) -> None:
    label = line["model"]
    style = "-"
    if line["choose"] == "oracle":
        label = f"{label} (oracle)"
        style = "--"
    x = np.arange(1, len(line["dice"]) + 1)
    axes.plot(x, line["dice"], color=colour, marker="o", markersize=3.5, ls=style, label=label)
    _fill_band(axes, x, line, colour)


def _fill_band(axes: Axes, x: ArrayLike, line: Line, colour: str) -> None:
    if not np.isnan(line["low"]).all():
        axes.fill_between(x, line["low"], line["high"], color=colour, alpha=0.15, linewidth=0)


def series(lines: Sequence[Line], figure: str, title: str, y: str) -> str:
    """A figure by number of accepted images, with bands: without and with learning."""
    drawing, axes = _axes(4.2, 2.9)
    for colour, line in zip(COLOURS, lines, strict=False):
        label = "without learning"
        if line["learning"]:
            label = "with learning"
        values = line["figures"][figure]
        axes.plot(line["examples"], values["mean"], color=colour, marker="o", ms=3.5, label=label)
        _fill_band(axes, line["examples"], values, colour)
    axes.set_ylim(bottom=0)
    axes.locator_params(axis="x", integer=True)
    axes.legend(fontsize=7, frameon=False, loc="best")
    return _svg(drawing, axes, title, "accepted images", y)


def boxes(values: Mapping[str, Mapping[str, Sequence[float]]], title: str, y: str) -> str:
    """Box plots: a group for each data set, a box for each series (model, or prompt) in it."""
    series = list(dict.fromkeys(chain.from_iterable(values.values())))
    step = len(series) + 1  # distance between groups
    starts = [number * step for number in range(len(values))]
    figure, axes = _axes(max(4.2, 0.6 + 0.34 * len(values) * step), 3.2)
    for number, name in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        samples = [_numbers(group.get(name, ())) for group in values.values()]
        _plot_boxes(axes, samples, [start + number for start in starts], colour)
        axes.plot([], [], color=colour, linewidth=5, label=name)
    axes.set_xticks([start + (len(series) - 1) / 2 for start in starts])
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


def _plot_boxes(
    axes: Axes, samples: Sequence[Sequence[float]], positions: Sequence[int], colour: str
) -> None:
    """A box for each sample, all in one colour."""
    plot = axes.boxplot(
        samples, positions=positions, widths=0.75, patch_artist=True, manage_ticks=False
    )
    for part in ("whiskers", "caps", "medians"):
        for line in plot[part]:
            line.set_color(_INK)
    for box, outliers in zip(plot["boxes"], plot["fliers"], strict=True):
        box.set(facecolor=colour, alpha=0.75, edgecolor=_INK)
        outliers.set(marker=".", markersize=2.5, markeredgecolor=colour)


def _numbers(values: Sequence[float]) -> list[float]:
    return list(filterfalse(math.isnan, values))


def reliability(lines: Sequence[Line], title: str) -> str:
    """Predicted and true IoU in bins; the area of a point grows with the number of answers."""
    figure, axes = _axes(3.4, 3.2)
    axes.plot([0, 1], [0, 1], color=_INK, alpha=0.4, linewidth=0.8)
    counts = [row["n"] for line in lines for row in line["bins"]]
    most = max(counts, default=1)
    for colour, line in zip(COLOURS, lines, strict=False):
        filled = [row for row in line["bins"] if row["n"]]
        x = column_of(filled, "predicted")
        y = column_of(filled, "true")
        sizes = [8 + 60 * row["n"] / max(most, 1) for row in filled]
        axes.plot(x, y, color=colour, linewidth=1, label=line["prompt"])
        axes.scatter(x, y, s=sizes, color=colour, linewidth=0)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize=7, frameon=False, loc="upper left")
    return _svg(figure, axes, title, "predicted IoU", "true IoU")
