"""Tables of the report, as HTML."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segscope.evaluate.overall import ALL
from segscope.evaluate.protocol import KINDS
from segscope.evaluate.rows import Line, column_of, describe_metric, list_metrics, select
from segscope.evaluate.summary import EVERYTHING_METRICS

DASH = "–"


@dataclass(frozen=True, slots=True)
class Html:
    """The content of a cell that is HTML already."""

    text: str


Cell = str | int | Html


def render_table(
    head: Sequence[str],
    body: Iterable[Sequence[Cell]],
    caption: str = "",
    text_columns: int = 1,
) -> str:
    """HTML of a table; "" without rows.

    Args:
        head: names of the columns.
        body: rows of cells; a row that begins with `ALL` is marked as the total.
        caption: line above the table.
        text_columns: so many first columns hold text; the others are numbers.
    """
    rows = list(body)
    if not rows:
        return ""
    title = ""
    if caption:
        title = f"<caption>{html.escape(caption)}</caption>"
    header = _render_cells("th", head, text_columns)
    lines = "".join(_render_row(row, text_columns) for row in rows)
    return (
        f"<div class='scroll'><table>{title}<thead><tr>{header}</tr></thead>"
        f"<tbody>{lines}</tbody></table></div>"
    )


def _render_row(row: Sequence[Cell], text_columns: int) -> str:
    mark = ""
    if row[0] == ALL:
        mark = " class='total'"
    return f"<tr{mark}>{_render_cells('td', row, text_columns)}</tr>"


def _render_cells(tag: str, cells: Sequence[Cell], text_columns: int) -> str:
    parts = []
    for column, cell in enumerate(cells):
        mark = ""
        if column < text_columns:
            mark = " class='text'"
        parts.append(f"<{tag}{mark}>{_render_cell(cell)}</{tag}>")
    return "".join(parts)


def _render_cell(cell: Cell) -> str:
    if isinstance(cell, Html):
        return cell.text
    return html.escape(str(cell))


def format_number(value: float | None, digits: int = 3) -> str:
    """A number for a table; a dash where there is none."""
    if value is None or math.isnan(value):
        return DASH
    return f"{value:.{digits}f}"


def _format_numbers(line: Line, names: Iterable[str]) -> list[str]:
    return [format_number(line[name]) for name in names]


def _format_figure(figure: Mapping[str, Any] | None) -> Cell:
    """Mean with its interval, and what to know of it."""
    if figure is None:
        return DASH
    text = format_number(figure["mean"])
    if not math.isnan(figure["low"]):
        text += f" <small>{figure['low']:.3f} to {figure['high']:.3f}</small>"
    if figure["note"] and not math.isnan(figure["mean"]):
        text += f" <small>{html.escape(figure['note'])}</small>"
    return Html(text)


def _format_prompt(line: Line) -> str:
    if line["choose"] == "oracle":
        return f"{line['prompt']} (oracle)"
    return str(line["prompt"])


def _format_failures(line: Line) -> str:
    if line["n_failures"] is None:
        return DASH
    return f"{line['n_failures'] / max(line['n_valid'], 1):.0%}"


def _format_title(metric: str) -> str:
    """Name of a metric, with an arrow towards better values."""
    better = describe_metric(metric).higher_is_better
    if better is None:
        return metric
    if better:
        return f"{metric} ↑"
    return f"{metric} ↓"


def undisturbed(lines: Iterable[Line]) -> list[Line]:
    """Lines of images that were not disturbed."""
    return select(lines, degrade="none")


def overall(lines: Iterable[Line]) -> list[Line]:
    """Lines over all data sets."""
    return select(lines, dataset=ALL)


def render_overview(lines: Sequence[Line]) -> Iterator[str]:
    """All metrics over all data sets: a table for each kind of stack, a row for each prompt."""
    for kind in KINDS:
        rows = select(lines, dataset=ALL, degrade="none", kind=kind)
        if not rows:
            continue
        metrics = list_metrics(rows)
        titles = list(map(_format_title, metrics))
        head = ["model", "prompt", *titles, "objects", "patients", "missed", "failed"]
        units = "/".join(sorted(set(column_of(rows, "unit"))))
        caption = f"{kind.capitalize()}s; lengths in {units}"
        yield render_table(head, [_overview_row(line, metrics) for line in rows], caption, 2)


def _overview_row(line: Line, metrics: Sequence[str]) -> list[Cell]:
    figures = [_format_figure(line["metrics"].get(name)) for name in metrics]
    counts = [line["n_valid"], line["n_patients"], line["n_missed"]]
    return [line["model"], _format_prompt(line), *figures, *counts, _format_failures(line)]


def render_datasets(lines: Sequence[Line]) -> Iterator[str]:
    """The first metric: a row for each data set, a column for each prompt; a table for each model
    and kind.
    """
    for kind, model in _kinds_and_models(undisturbed(lines)):
        rows = select(lines, degrade="none", kind=kind, model=model)
        names = [*sorted(set(column_of(rows, "dataset")) - {ALL}), ALL]
        yield _prompts_table("dataset", "data set", names, rows)


def render_strata(lines: Sequence[Line]) -> Iterator[str]:
    """The first metric: a row for each stratum, a column for each prompt."""
    for criterion in ("modality", "size"):
        chosen = select(lines, by=criterion)
        for kind, model in _kinds_and_models(chosen):
            rows = select(chosen, kind=kind, model=model)
            names = list(dict.fromkeys(column_of(rows, "stratum")))
            yield _prompts_table("stratum", criterion, names, rows)


def _kinds_and_models(lines: Iterable[Line]) -> list[tuple[str, str]]:
    """Kinds in the order of `KINDS`, and the models of each in the order of the lines."""
    pairs = dict.fromkeys((line["kind"], line["model"]) for line in lines)
    return sorted(pairs, key=lambda pair: KINDS.index(pair[0]))


def _prompts_table(column: str, title: str, names: Sequence[str], rows: Sequence[Line]) -> str:
    """Rows by a column, prompts side by side, of one model and one kind of stack."""
    metric = next(iter(rows[0]["metrics"]))
    prompts = list(dict.fromkeys(map(_prompt_of, rows)))
    figures = {(line[column], _prompt_of(line)): line["metrics"][metric] for line in rows}
    body: list[list[Cell]] = []
    for name in names:
        count = max(column_of(select(rows, **{column: name}), "n_valid"))
        cells = [_format_figure(figures.get((name, prompt))) for prompt in prompts]
        body.append([name, count, *cells])
    caption = f"{rows[0]['model']}, {rows[0]['kind']}s: {metric}"
    return render_table([title, "objects", *prompts], body, caption)


def _prompt_of(line: Line) -> str:
    """The prompt of a line; strata have no choice of mask."""
    if "choose" in line:
        return _format_prompt(line)
    return str(line["prompt"])


def render_curves(curves: Sequence[Line]) -> str:
    head = ["model", "prompt", "first", "last", "area under the curve"]
    head += ["rounds to 0.85", "rounds to 0.90"]
    body: list[list[Cell]] = []
    for line in overall(undisturbed(curves)):
        dice = [line["dice"][0], line["dice"][-1], line["auc"]]
        rounds = [line["noc@0.85"], line["noc@0.9"]]
        cells = list(map(format_number, dice))
        cells += [format_number(value, 2) for value in rounds]
        body.append([line["model"], _format_prompt(line), *cells])
    caption = (
        "Dice; areas are normalised to 0 to 1; objects that never get that good count all rounds"
    )
    return render_table(head, body, caption, 2)


def render_comparisons(lines: Sequence[Line]) -> str:
    head = ["data set", "prompt", "first", "second", "mean difference", "95 %"]
    head += ["median difference", "95 %", "p (Holm)", "patients"]
    body: list[list[Cell]] = []
    for line in undisturbed(lines):
        names = [line["dataset"], _format_prompt(line), line["first"], line["second"]]
        mean = [f"{line['mean_difference']:+.3f}", _format_interval(line, "mean_low", "mean_high")]
        median = [f"{line['difference']:+.3f}", _format_interval(line, "low", "high")]
        p = format_number(line["p_holm"], 4)
        patients = str(line["n_patients"])
        if line["note"]:
            patients += f" ({line['note']})"
        body.append([*names, *mean, *median, p, patients])
    return render_table(head, body, text_columns=4)


def _format_interval(line: Line, low: str, high: str) -> str:
    if math.isnan(line[low]):
        return DASH
    return f"{line[low]:+.3f} to {line[high]:+.3f}"


def render_everything(lines: Sequence[Line]) -> str:
    titles = [name.replace("_", " ") for name in EVERYTHING_METRICS]
    body: list[list[Cell]] = []
    for line in undisturbed(lines):
        figures = _format_numbers(line, EVERYTHING_METRICS)
        body.append([line["model"], line["dataset"], line["n"], *figures])
    caption = (
        "Objects matched one to one at IoU 0.5 (0.75); oracle union: Dice of all masks "
        "with at least 90 % of their area inside the truth"
    )
    return render_table(["model", "data set", "images", *titles], body, caption, 2)


def render_drops(lines: Sequence[Line]) -> str:
    """Means on disturbed images, and their drop against the undisturbed ones."""
    rows = overall(lines)
    clean = {
        (line["model"], _format_prompt(line), line["kind"]): line for line in undisturbed(rows)
    }
    body: list[list[Cell]] = []
    for line in rows:
        reference = clean.get((line["model"], _format_prompt(line), line["kind"]))
        if line["degrade"] == "none" or reference is None:
            continue
        metric = next(iter(line["metrics"]))
        before = reference["metrics"][metric]["mean"]
        after = line["metrics"][metric]["mean"]
        drop = DASH
        if before:
            drop = f"{(before - after) / before:.1%}"
        names = [line["model"], _format_prompt(line), line["degrade"]]
        body.append([*names, format_number(after), drop])
    head = ["model", "prompt", "disturbance", "mean", "relative drop"]
    return render_table(head, body, text_columns=3)


def render_challenge(lines: Sequence[Line]) -> str:
    names = ["dice_auc", "nsd_auc", "dice_final", "nsd_final", "dice_first", "nsd_first"]
    titles = [name.replace("_", " ") for name in names]
    body: list[list[Cell]] = []
    for line in lines:
        figures = _format_numbers(line, names)
        body.append([line["dataset"], line["model"], line["n"], *figures])
    return render_table(["data set", "model", "cases", *titles], body, text_columns=2)


def render_calibration(lines: Sequence[Line]) -> str:
    head = ["model", "prompt", "answers", "correlation", "rank correlation", "mean error", "bias"]
    names = ("pearson", "spearman", "mae", "bias", "ece")
    body: list[list[Cell]] = []
    for line in lines:
        body.append([line["model"], line["prompt"], line["n"], *_format_numbers(line, names)])
    return render_table([*head, "calibration error"], body, text_columns=2)


def render_costs(lines: Sequence[Line]) -> str:
    head = ["model", "kind", "first answer, ms", "further answer, ms", "peak memory, MiB"]
    body: list[list[Cell]] = []
    for line in lines:
        first = format_number(1e3 * line["first_seconds"], 0)
        later = format_number(1e3 * line["later_seconds"], 0)
        memory = f"{line['peak_bytes'] / 2**20:.0f}"
        body.append([line["model"], line["kind"], first, later, memory])
    caption = (
        "Medians, with waiting, encoding and tracking; further answers often need no new encoding"
    )
    return render_table(head, body, caption, 2)


def render_definitions(names: Iterable[str]) -> str:
    """What each metric measures, and its source."""
    metrics = [(name, describe_metric(name)) for name in names]
    body = [[name, metric.text, metric.source] for name, metric in metrics]
    return render_table(["metric", "definition", "source"], body, text_columns=3)
