"""Report: one HTML page for people, that works without a network: tables, figures, worst and median
cases.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from segscope._optional import require
from segscope.evaluate import plots as evaluate_plots
from segscope.evaluate.examples import FOUND, TRUTH, worst_and_median
from segscope.evaluate.overall import ALL
from segscope.evaluate.protocol import KINDS, Protocol
from segscope.evaluate.results_log import Row
from segscope.evaluate.rows import Line, describe_metric, last_rounds, metrics_of
from segscope.evaluate.run import Evaluation, Load
from segscope.files import atomic
from segscope.io.datasets.reading import DataSet
from segscope.overlay import colour_of

MOST_BOXES = 24  # in a figure of box plots

Tag = str


def write_report(
    result: Evaluation, datasets: Sequence[DataSet], protocol: Protocol, load: Load
) -> Path:
    """Write report.html into the folder of an evaluation.

    Worst and median cases are played again from their seeds to be drawn.

    Raises:
        MissingExtra: jinja2 or matplotlib are not installed.
    """
    jinja2 = require("jinja2", "report", "write the report")
    source = (resources.files("segscope.evaluate") / "templates" / "report.html").read_text("utf-8")
    template = jinja2.Environment(autoescape=True).from_string(source)
    mark: Callable[[str], Any] = require("markupsafe", "report", "write the report").Markup
    page = template.render(_context(result, datasets, protocol, load, mark))
    path = result.folder / "report.html"
    with atomic(path) as part:
        part.write_text(page, encoding="utf-8")
    return path


def _context(
    result: Evaluation,
    datasets: Sequence[DataSet],
    protocol: Protocol,
    load: Load,
    mark: Callable[[str], Any],
) -> dict[str, Any]:
    summary = result.summary
    last = last_rounds(result.rows)
    plots = {
        "curves": [mark(figure) for figure in _curve_figures(summary.curves)],
        "boxes": [mark(figure) for figure in _box_figures(last)],
        "calibration": [mark(figure) for figure in _reliability_figures(summary.calibration)],
    }
    tables = {
        "overview": [mark(table) for table in _overview(summary.lines)],
        "sets": [mark(table) for table in _sets(summary.lines)],
        "curve_table": mark(_curve_table(summary.curves)),
        "comparisons": mark(_comparisons(summary.comparisons)),
        "strata": [mark(table) for table in _strata(summary.strata)],
        "everything": mark(_everything(summary.everything)),
        "drops": mark(_drops(summary.lines)),
        "challenge": mark(_challenge(summary.challenge)),
        "calibration": mark(_calibration(summary.calibration)),
        "cost": mark(_costs(summary.costs)),
    }
    cases = list(worst_and_median(last, datasets, protocol, load))
    used = {name for line in summary.lines for name in line["metrics"]}
    sections = [("overview", "Overview"), ("curves", "Clicks"), ("sets", "Data sets"), ("models", "Models"),
                ("strata", "Strata"), ("everything", "Without prompts"), ("robustness", "Robustness"),
                ("challenge", "CVPR 2025"), ("cases", "Cases"), ("calibration", "Calibration"), ("cost", "Cost"),
                ("how", "How")]  # fmt: skip
    given = {"curves": plots["curves"], "models": tables["comparisons"], "strata": tables["strata"],
             "everything": tables["everything"], "robustness": tables["drops"], "challenge": tables["challenge"],
             "cases": cases, "calibration": plots["calibration"]}  # fmt: skip
    models = ", ".join(summary.header["models"])
    counted = len({(row["dataset"], row["case"]) for row in result.rows})
    return {
        **tables,
        "title": f"{models}: {protocol.name}",
        "subtitle": f"{counted} cases, data: {', '.join(summary.header['datasets'])}; segscope "
        f"{summary.header['versions']['segscope']}{f', after {protocol.source}' if protocol.source else ''}",
        "note": protocol.note,
        "warnings": summary.warnings,
        "failed": summary.failed,
        "sections": [(key, name) for key, name in sections if given.get(key, True)],
        "figures": plots,
        "cases": cases,
        "colours": {
            "found": "rgb({},{},{})".format(*colour_of(FOUND)),
            "truth": "rgb({},{},{})".format(*colour_of(TRUTH)),
        },
        "definitions": mark(_definitions(sorted(used))),
        "machine": f"{summary.machine['system']}, Python {summary.machine['python']}, {summary.machine['cpus']} CPUs; "
        "each process computes with one thread",
        "settings": json.dumps(summary.header, indent=1, ensure_ascii=False),
    }


# --- tables --------------------------------------------------------------------------------------


def _table(
    head: Sequence[str], body: Iterable[Sequence[Any]], caption: str = "", text: int = 1
) -> Tag:
    """HTML of a table; the first `text` columns are text. Cells that are tuples are (html, class)."""
    rows = list(body)
    if not rows:
        return ""

    def cell(kind: str, value: Any, column: int) -> str:
        inner, mark = value if isinstance(value, tuple) else (html.escape(str(value)), "")
        names = " ".join(filter(None, ("text" if column < text else "", mark)))
        return f"<{kind}{f' class={names!r}' if names else ''}>{inner}</{kind}>"

    lines = ["".join(cell("td", value, at) for at, value in enumerate(row)) for row in rows]
    marks = [" class='total'" if row[0] == ALL else "" for row in rows]
    title = ""
    if caption:
        title = f"<caption>{html.escape(caption)}</caption>"
    header = "".join(cell("th", value, at) for at, value in enumerate(head))
    inner = "".join(f"<tr{mark}>{line}</tr>" for mark, line in zip(marks, lines, strict=True))
    return f"<div class='scroll'><table>{title}<thead><tr>{header}</tr></thead><tbody>{inner}</tbody></table></div>"


def number(value: float | None, digits: int = 3) -> str:
    """A number for a table; a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.{digits}f}"


def _with_interval(figure: Mapping[str, float]) -> tuple[str, str]:
    if math.isnan(figure["low"]):
        interval = ""
    else:
        interval = f" <small>{figure['low']:.3f} to {figure['high']:.3f}</small>"
    return f"{number(figure['mean'])}{interval}", ""


def _prompt(line: Mapping[str, Any]) -> str:
    if line["choose"] == "oracle":
        return f"{line['prompt']} (oracle)"
    return str(line["prompt"])


def _plain(lines: Iterable[Line]) -> Iterator[Line]:
    return (line for line in lines if line["degrade"] == "none")


def _overview(lines: Sequence[Line]) -> Iterator[Tag]:
    for kind in KINDS:
        chosen = [line for line in _plain(lines) if line["kind"] == kind and line["dataset"] == ALL]
        names = list(dict.fromkeys(name for line in chosen for name in line["metrics"]))
        head = ["model", "prompt", *map(_titled, names), "objects", "patients", "missed", "failed"]
        yield _table(
            head,
            (
                [
                    line["model"],
                    _prompt(line),
                    *(
                        _with_interval(line["metrics"][name]) if name in line["metrics"] else "–"
                        for name in names
                    ),
                    line["n_valid"],
                    line["n_patients"],
                    line["n_missed"],
                    "–"
                    if line["n_failures"] is None
                    else f"{line['n_failures'] / max(line['n_valid'], 1):.0%}",
                ]
                for line in chosen
            ),
            f"{kind.capitalize()}s; lengths in {'/'.join(sorted({line['unit'] for line in chosen}))}"
            if chosen
            else "",
            text=2,
        )


def _titled(name: str) -> str:
    better = describe_metric(name).higher_is_better
    return name + ("" if better is None else " ↑" if better else " ↓")


def _sets(lines: Sequence[Line]) -> Iterator[Tag]:
    """The first metric: a row for each data set, a column for each prompt; a table for each model
    and kind.
    """
    for kind in KINDS:
        of_kind = [line for line in _plain(lines) if line["kind"] == kind]
        for model in dict.fromkeys(line["model"] for line in of_kind):
            chosen = [line for line in of_kind if line["model"] == model]
            metric = next(iter(chosen[0]["metrics"]))
            prompts = list(dict.fromkeys(map(_prompt, chosen)))
            found = {(line["dataset"], _prompt(line)): line for line in chosen}
            names = [*sorted({line["dataset"] for line in chosen} - {ALL}), ALL]
            body = []
            for name in names:
                counts = max(found[key]["n_valid"] for key in found if key[0] == name)
                cells = [
                    _with_interval(found[name, prompt]["metrics"][metric])
                    if (name, prompt) in found
                    else "–"
                    for prompt in prompts
                ]
                body.append([name, counts, *cells])
            yield _table(["data set", "objects", *prompts], body, f"{model}, {kind}s: {metric}")


def _curve_table(curves: Sequence[Line]) -> Tag:
    chosen = [line for line in _plain(curves) if line["dataset"] == ALL]
    return _table(
        ["model", "prompt", "first", "last", "area under the curve", "rounds to 0.85", "rounds to 0.90"],
        (
            [line["model"], _prompt(line), number(line["dice"][0]), number(line["dice"][-1]), number(line["auc"]),
             number(line["noc@0.85"], 2), number(line["noc@0.9"], 2)]
            for line in chosen
        ),
        "Dice; areas are normalised to 0 to 1; objects that never get that good count all rounds",
        text=2,
    )  # fmt: skip


def _comparisons(lines: Sequence[Line]) -> Tag:
    return _table(
        ["data set", "prompt", "first", "second", "median difference", "95 %", "p (Holm)", "patients"],
        (
            [line["dataset"], _prompt(line), line["first"], line["second"], f"{line['difference']:+.3f}",
             f"{number(line['low'])} to {number(line['high'])}", number(line["p_holm"], 4), line["n_patients"]]
            for line in _plain(lines)
        ),
        text=4,
    )  # fmt: skip


def _strata(lines: Sequence[Line]) -> Iterator[Tag]:
    """The first metric: a row for each stratum, a column for each prompt."""
    for by in ("modality", "size"):
        chosen = [line for line in lines if line["by"] == by]
        for kind, model in dict.fromkeys((line["kind"], line["model"]) for line in chosen):
            here = [line for line in chosen if (line["kind"], line["model"]) == (kind, model)]
            metric = next(iter(here[0]["metrics"]))
            prompts = list(dict.fromkeys(line["prompt"] for line in here))
            found = {(line["stratum"], line["prompt"]): line for line in here}
            body = []
            for stratum in dict.fromkeys(line["stratum"] for line in here):
                own = [found[stratum, prompt] for prompt in prompts if (stratum, prompt) in found]
                cells = [
                    _with_interval(found[stratum, prompt]["metrics"][metric])
                    if (stratum, prompt) in found
                    else "–"
                    for prompt in prompts
                ]
                body.append([stratum, max(line["n_valid"] for line in own), *cells])
            yield _table([by, "objects", *prompts], body, f"{model}, {kind}s: {metric}")


def _everything(lines: Sequence[Line]) -> Tag:
    names = [
        "ap@50",
        "f1@50",
        "precision@50",
        "recall@50",
        "pq",
        "ap@75",
        "aji",
        "oracle_union_dice",
    ]
    return _table(
        ["model", "data set", "images", *(name.replace("_", " ") for name in names)],
        (
            [line["model"], line["dataset"], line["n"], *(number(line[name]) for name in names)]
            for line in _plain(lines)
        ),
        "Objects matched one to one at IoU 0.5 (0.75); oracle union: Dice of all masks that lie in the truth by 90 %",
        text=2,
    )


def _drops(lines: Sequence[Line]) -> Tag:
    chosen = [line for line in lines if line["dataset"] == ALL]
    base = {
        (line["model"], _prompt(line), line["kind"]): line
        for line in chosen
        if line["degrade"] == "none"
    }
    body = []
    for line in chosen:
        name = next(iter(line["metrics"]))
        clean = base.get((line["model"], _prompt(line), line["kind"]))
        if line["degrade"] == "none" or clean is None:
            continue
        before, after = (one["metrics"][name]["mean"] for one in (clean, line))
        drop = "–"
        if before:
            drop = f"{(before - after) / before:.1%}"
        body.append([line["model"], _prompt(line), line["degrade"], number(after), drop])
    return _table(["model", "prompt", "disturbance", "mean", "relative drop"], body, text=3)


def _challenge(lines: Sequence[Line]) -> Tag:
    names = ["dice_auc", "nsd_auc", "dice_final", "nsd_final", "dice_first", "nsd_first"]
    head = ["data set", "model", "cases", *(name.replace("_", " ") for name in names)]
    return _table(
        head,
        (
            [line["dataset"], line["model"], line["n"], *(number(line[name]) for name in names)]
            for line in lines
        ),
        text=2,
    )


def _calibration(lines: Sequence[Line]) -> Tag:
    return _table(
        ["model", "prompt", "answers", "correlation", "rank correlation", "mean error", "bias", "calibration error"],
        (
            [line["model"], line["prompt"], line["n"],
             *(number(line[name]) for name in ("pearson", "spearman", "mae", "bias", "ece"))]
            for line in lines
        ),
        text=2,
    )  # fmt: skip


def _costs(lines: Sequence[Line]) -> Tag:
    return _table(
        ["model", "kind", "first answer, ms", "further answer, ms", "peak memory, MiB"],
        (
            [line["model"], line["kind"], number(1e3 * line["first_seconds"], 0),
             number(1e3 * line["later_seconds"], 0), f"{line['peak_bytes'] / 2**20:.0f}"]
            for line in lines
        ),
        "Medians of waiting, encoding and tracking included; further answers often need no new encoding",
        text=2,
    )  # fmt: skip


def _definitions(names: Sequence[str]) -> Tag:
    body = [[name, describe_metric(name).text, describe_metric(name).source] for name in names]
    return _table(["metric", "what it is", "source"], body, text=3)


# --- figures -------------------------------------------------------------------------------------


def _curve_figures(curves: Sequence[Line]) -> Iterator[str]:
    chosen = [line for line in _plain(curves) if line["dataset"] == ALL]
    for kind, prompt in dict.fromkeys((line["kind"], line["prompt"]) for line in chosen):
        lines = [line for line in chosen if (line["kind"], line["prompt"]) == (kind, prompt)]
        yield evaluate_plots.curves(lines, f"{prompt}, {kind}s")


def _box_figures(last: Sequence[Row]) -> Iterator[str]:
    """By data set: models side by side for each prompt, or prompts side by side where one model has
    few of them.
    """
    plain = [row for row in last if row["degrade"] == "none" and row["choose"] == "predicted"]
    for kind in KINDS:
        rows = [row for row in plain if row["kind"] == kind]
        if not rows:
            continue
        metric = metrics_of(rows)[0]
        models = sorted({row["model"] for row in rows})
        prompts = sorted({row["prompt"] for row in rows})
        many = len(prompts) * len({row["dataset"] for row in rows}) > MOST_BOXES
        if many or len(models) > 1:
            splits = prompts
        else:
            splits = [None]
        for split in splits:
            values: dict[str, dict[str, list[float]]] = {}
            for row in sorted(rows, key=lambda row: row["dataset"]):
                if split in (None, row["prompt"]):
                    if split is None:
                        series = row["prompt"]
                    else:
                        series = row["model"]
                    values.setdefault(row["dataset"], {}).setdefault(series, []).append(row[metric])
            yield evaluate_plots.boxes(
                values, f"{models[0] if split is None else split}, {kind}s", metric
            )


def _reliability_figures(lines: Sequence[Line]) -> Iterator[str]:
    for model in dict.fromkeys(line["model"] for line in lines):
        yield evaluate_plots.reliability([line for line in lines if line["model"] == model], model)
