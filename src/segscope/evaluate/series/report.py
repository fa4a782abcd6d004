"""Report of series: one HTML page for people, that works without a network."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from segscope.evaluate import plots
from segscope.evaluate.overall import ALL
from segscope.evaluate.protocol import Protocol
from segscope.evaluate.report import describe_cpus, mark_html, render_page
from segscope.evaluate.rows import Line, select
from segscope.evaluate.series.annotator import accepted_dice
from segscope.evaluate.series.run import SeriesEvaluation, SeriesSettings
from segscope.evaluate.series.summary import FROM, LOSS
from segscope.evaluate.tables import DASH, Cell, Html, format_number, render_table
from segscope.files import atomic
from segscope.metrics.intervals import LEAST_PATIENTS

SECTIONS = (
    ("overview", "Overview"),
    ("curves", "Image by image"),
    ("series", "Series"),
    ("how", "How"),
)
TITLES = {
    "first_dice": "first Dice",
    "unchanged": "accepted unchanged",
    "rounds": "rounds until accepted",
}


def write_series_report(result: SeriesEvaluation, settings: SeriesSettings) -> Path:
    """Write report.html into the folder of an evaluation of series.

    Raises:
        MissingExtra: jinja2 or matplotlib are not installed.
    """
    page = render_page("series.html", _context(result, settings))
    path = result.folder / "report.html"
    with atomic(path) as part:
        part.write_text(page, encoding="utf-8")
    return path


def _context(result: SeriesEvaluation, settings: SeriesSettings) -> dict[str, Any]:
    mark = mark_html()
    summary = result.summary
    protocol = settings.evaluation.protocol
    return {
        "title": f"{', '.join(summary.header['models'])}: {protocol.name}",
        "subtitle": _subtitle(summary.header, protocol, summary.lines),
        "note": protocol.note,
        "warnings": summary.warnings,
        "failed": summary.failed,
        "sections": SECTIONS,
        "first_number": FROM,
        "dice": f"{accepted_dice(protocol.image):.2f}",
        "loss": LOSS,
        "overview": mark(_render_lines(select(summary.lines, series=ALL), "")),
        "figures": list(map(mark, _draw_curves(summary.curves))),
        "series": list(map(mark, _render_series(summary.lines))),
        "images": settings.images,
        "orders": settings.orders,
        "least_patients": LEAST_PATIENTS,
        "machine": describe_cpus(summary.machine),
        "settings": json.dumps(summary.header, indent=1, ensure_ascii=False),
    }


def _subtitle(header: Mapping[str, Any], protocol: Protocol, lines: Iterable[Line]) -> str:
    series = {line["series"] for line in lines} - {ALL}
    sets = ", ".join(header["datasets"])
    text = f"{len(series)} series, data: {sets}; segscope {header['versions']['segscope']}"
    if protocol.source:
        text += f", after {protocol.source}"
    return text


def _draw_curves(curves: Sequence[Line]) -> Iterator[str]:
    for model, prompt in dict.fromkeys((line["model"], line["prompt"]) for line in curves):
        lines = select(curves, model=model, prompt=prompt)
        for figure in lines[0]["figures"]:
            yield plots.series(lines, figure, f"{model}, {prompt}", TITLES[figure])


def _render_series(lines: Sequence[Line]) -> Iterator[str]:
    """A table for each model and prompt, a row for each series."""
    for model, prompt in dict.fromkeys((line["model"], line["prompt"]) for line in lines):
        own = select(lines, model=model, prompt=prompt)
        yield _render_lines(own, f"{model}, {prompt}")


def _render_lines(lines: Sequence[Line], caption: str) -> str:
    """A row a line: each figure without and with learning, and its change.

    Args:
        caption: names model and prompt, or "" where each row does.
    """
    names = [name for name in TITLES if any(name in line["figures"] for line in lines)]
    head = ["series"]
    if not caption:
        head = ["model", "prompt"]
    text_columns = len(head)
    head += [TITLES[name] for name in names]
    if "rounds" in names:
        head.append("fewer rounds")
    head += ["lose", "learned", "images", "patients"]
    body: list[list[Cell]] = []
    for line in lines:
        cells: list[Cell] = [line["series"]]
        if not caption:
            cells = [line["model"], line["prompt"]]
        cells += [_format_figure(name, line["figures"].get(name)) for name in names]
        if "rounds" in names:
            cells.append(_format_share(line["fewer"]))
        shares = map(_format_share, (line["lost"], line["learned"]))
        body.append([*cells, *shares, line["n"], line["n_patients"]])
    return render_table(head, body, caption, text_columns)


def _format_figure(name: str, figure: Mapping[str, Any] | None) -> Cell:
    """Without and with learning; below, the change and its interval."""
    if figure is None:
        return DASH
    digits = 3
    if name == "rounds":
        digits = 1
    before, after = (format_number(figure[key], digits) for key in ("without", "with"))
    change = f"{figure['change']:+.{digits}f}"
    if not math.isnan(figure["low"]):
        change += f" ({figure['low']:+.{digits}f} to {figure['high']:+.{digits}f})"
    if figure["note"]:
        change += f"</small> <small>{html.escape(figure['note'])}"
    return Html(f"{before} → {after} <small>{change}</small>")


def _format_share(share: float) -> str:
    if math.isnan(share):
        return DASH
    return f"{share:.0%}"
