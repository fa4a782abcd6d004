"""Training curves: logged figures as a table, as an image, and as TensorBoard events where a writer
is installed.
"""

from __future__ import annotations

import csv
import importlib
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from segscope._optional import require
from segscope.errors import MissingExtra
from segscope.files import atomic

Row = dict[str, float]
TABLE = "curve.csv"
IMAGE = "curve.png"
EVENT_WRITERS = (
    ("tensorboard", "torch.utils.tensorboard"),
    ("tensorboardX", "tensorboardX"),
)
"""Packages that write events, and the module of each that does."""


def write_table(rows: Sequence[Row], folder: Path) -> None:
    """curve.csv: one line per logged step; figures that a step lacks are empty."""
    columns = list(dict.fromkeys(chain.from_iterable(rows)))
    with atomic(folder / TABLE) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def write_image(rows: Sequence[Row], folder: Path, title: str) -> bool:
    """curve.png: loss and validation Dice over steps; returns False without matplotlib, which it
    needs.
    """
    try:
        require("matplotlib", "report", "draw curves").use("Agg")
        plots = require("matplotlib.pyplot", "report", "draw curves")
    except MissingExtra:
        return False
    figure, left = plots.subplots(figsize=(7, 4))
    try:
        left.plot(*_line(rows, "loss"), color="tab:blue", linewidth=1)
        left.set_xlabel("step")
        left.set_ylabel("training loss", color="tab:blue")
        right = left.twinx()
        right.plot(*_line(rows, "val dice"), color="tab:red", marker="o", markersize=3)
        right.set_ylabel("validation Dice", color="tab:red")
        right.set_ylim(0, 1)
        left.set_title(title)
        figure.tight_layout()
        with atomic(folder / IMAGE) as part:
            figure.savefig(part, dpi=110, metadata={"Software": None})
    finally:
        plots.close(figure)
    return True


def _line(rows: Sequence[Row], column: str) -> tuple[list[float], list[float]]:
    """Steps and values of a column, over the rows that have it."""
    logged = [row for row in rows if column in row]
    return [row["step"] for row in logged], [row[column] for row in logged]


class Events:
    """TensorBoard events; without an installed writer, or without a folder, nothing is written."""

    def __init__(self, folder: Path | None) -> None:
        self._writer: Any = None
        if folder is not None:
            self._writer = _open_writer(folder)

    def add(self, row: Row) -> None:
        if self._writer is None:
            return
        figures = dict(row)
        step = int(figures.pop("step"))
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _open_writer(folder: Path) -> Any:
    for package, module in EVENT_WRITERS:
        try:
            importlib.import_module(package)
            return importlib.import_module(module).SummaryWriter(str(folder))
        except ImportError:
            continue
    return None
