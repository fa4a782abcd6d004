"""Report: one HTML page for people, that works without a network: tables, figures, worst and median
cases.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from segscope._optional import require
from segscope.evaluate import plots
from segscope.evaluate.examples import PREDICTION, TRUTH, worst_and_median
from segscope.evaluate.protocol import KINDS, Protocol
from segscope.evaluate.results_log import Row
from segscope.evaluate.rows import (
    Line,
    column_of,
    last_rounds,
    list_metrics,
    metrics_of,
    select,
    select_plain,
)
from segscope.evaluate.run import Evaluation, EvaluationSettings
from segscope.evaluate.tables import (
    overall,
    render_calibration,
    render_challenge,
    render_comparisons,
    render_costs,
    render_curves,
    render_datasets,
    render_definitions,
    render_drops,
    render_everything,
    render_overview,
    render_strata,
    undisturbed,
)
from segscope.evaluate.workers import Load
from segscope.files import atomic
from segscope.overlay import colour_of

MOST_BOXES = 24  # in a figure of box plots

SECTIONS = (
    ("overview", "Overview"),
    ("curves", "Clicks"),
    ("sets", "Data sets"),
    ("models", "Models"),
    ("strata", "Strata"),
    ("everything", "Without prompts"),
    ("robustness", "Robustness"),
    ("challenge", "CVPR 2025"),
    ("cases", "Cases"),
    ("calibration", "Calibration"),
    ("cost", "Cost"),
    ("how", "How"),
)


def write_report(result: Evaluation, settings: EvaluationSettings, load: Load) -> Path:
    """Write report.html into the folder of an evaluation.

    Worst and median cases are repeated from their seeds, so that they can be drawn.

    Raises:
        MissingExtra: jinja2 or matplotlib are not installed.
    """
    page = render_page("report.html", _context(result, settings, load, mark_html()))
    path = result.folder / "report.html"
    with atomic(path) as part:
        part.write_text(page, encoding="utf-8")
    return path


def mark_html() -> Callable[[str], Any]:
    """What says that a text is HTML already.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    mark: Callable[[str], Any] = require("markupsafe", "report", "write the report").Markup
    return mark


def render_page(template: str, values: dict[str, Any]) -> str:
    """The page of a template of this package.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    jinja2 = require("jinja2", "report", "write the report")
    folder = resources.files("segscope.evaluate") / "templates"
    loader = jinja2.FunctionLoader(lambda name: (folder / name).read_text("utf-8"))
    page: str = (
        jinja2.Environment(autoescape=True, loader=loader).get_template(template).render(values)
    )
    return page


def _context(
    result: Evaluation,
    settings: EvaluationSettings,
    load: Load,
    mark: Callable[[str], Any],
) -> dict[str, Any]:
    """Values of the template; `mark` says that a text is HTML already."""
    summary = result.summary
    protocol = settings.protocol
    last = last_rounds(result.rows)
    figures = {
        "curves": list(map(mark, _curve_figures(summary.curves))),
        "boxes": list(map(mark, _box_figures(last))),
        "calibration": list(map(mark, _reliability_figures(summary.calibration))),
    }
    tables = {
        "overview": list(map(mark, render_overview(summary.lines))),
        "sets": list(map(mark, render_datasets(summary.lines))),
        "curve_table": mark(render_curves(summary.curves)),
        "comparisons": mark(render_comparisons(summary.comparisons)),
        "strata": list(map(mark, render_strata(summary.strata))),
        "everything": mark(render_everything(summary.everything)),
        "drops": mark(render_drops(summary.lines)),
        "challenge": mark(render_challenge(summary.challenge)),
        "calibration": mark(render_calibration(summary.calibration)),
        "cost": mark(render_costs(summary.costs)),
    }
    cases = list(worst_and_median(last, settings.datasets, protocol, load))
    optional = {
        "curves": figures["curves"],
        "models": tables["comparisons"],
        "strata": tables["strata"],
        "everything": tables["everything"],
        "robustness": tables["drops"],
        "challenge": tables["challenge"],
        "cases": cases,
        "calibration": figures["calibration"],
    }
    metrics = sorted(list_metrics(summary.lines))
    return {
        **tables,
        "title": f"{', '.join(summary.header['models'])}: {protocol.name}",
        "subtitle": _subtitle(result, protocol),
        "note": protocol.note,
        "warnings": summary.warnings,
        "failed": summary.failed,
        "sections": [(key, name) for key, name in SECTIONS if optional.get(key, True)],
        "figures": figures,
        "cases": cases,
        "colours": {
            "prediction": "rgb({},{},{})".format(*colour_of(PREDICTION)),
            "truth": "rgb({},{},{})".format(*colour_of(TRUTH)),
        },
        "definitions": mark(render_definitions(metrics)),
        "machine": describe_cpus(summary.machine),
        "settings": json.dumps(summary.header, indent=1, ensure_ascii=False),
    }


def describe_cpus(machine: Mapping[str, Any]) -> str:
    """The machine of a summary, for people."""
    return (
        f"{machine['system']}, Python {machine['python']}, {machine['cpus']} CPUs; each process "
        "computes with one thread"
    )


def _subtitle(result: Evaluation, protocol: Protocol) -> str:
    header = result.summary.header
    count = len({(row["dataset"], row["case"]) for row in result.rows})
    sets = ", ".join(header["datasets"])
    text = f"{count} cases, data: {sets}; segscope {header['versions']['segscope']}"
    if protocol.source:
        text += f", after {protocol.source}"
    return text


def _curve_figures(curves: Sequence[Line]) -> Iterator[str]:
    rows = overall(undisturbed(curves))
    for kind, prompt in dict.fromkeys((line["kind"], line["prompt"]) for line in rows):
        lines = select(rows, kind=kind, prompt=prompt)
        yield plots.curves(lines, f"{prompt}, {kind}s")


def _box_figures(last: Sequence[Row]) -> Iterator[str]:
    """Figures of each kind of stack, by data set.

    Prompts stand side by side where one model has few of them; otherwise each prompt has a figure,
    with models side by side.
    """
    plain = select_plain(last)
    for kind in KINDS:
        rows = select(plain, kind=kind)
        rows.sort(key=lambda row: row["dataset"])
        if not rows:
            continue
        metric = metrics_of(rows)[0]
        models = sorted(set(column_of(rows, "model")))
        prompts = sorted(set(column_of(rows, "prompt")))
        boxes = len(prompts) * len(set(column_of(rows, "dataset")))
        if len(models) == 1 and boxes <= MOST_BOXES:
            values = _box_values(rows, "prompt", metric)
            yield plots.boxes(values, f"{models[0]}, {kind}s", metric)
            continue
        for prompt in prompts:
            prompted = select(rows, prompt=prompt)
            values = _box_values(prompted, "model", metric)
            yield plots.boxes(values, f"{prompt}, {kind}s", metric)


def _box_values(rows: Iterable[Row], series: str, metric: str) -> dict[str, dict[str, list[float]]]:
    """Scores by data set and by the value of the column `series`."""
    values: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        group = values.setdefault(row["dataset"], {})
        group.setdefault(row[series], []).append(row[metric])
    return values


def _reliability_figures(lines: Sequence[Line]) -> Iterator[str]:
    for model in dict.fromkeys(column_of(lines, "model")):
        yield plots.reliability(select(lines, model=model), model)
