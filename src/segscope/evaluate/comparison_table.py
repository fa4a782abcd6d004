"""The table of a comparison of adaptation methods: its rows from an evaluation, and its files."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segscope.adapt import saved
from segscope.evaluate.results_log import Row
from segscope.evaluate.rows import gain, last_rounds, mean
from segscope.files import atomic

TABLE = "comparison"
UNTRAINED = "untrained"
BOX = "box.jitter"

PROPAGATED = "dice@propagated"
"""Where a box is on one slice of a volume, the other slices are also scored by themselves: that is
what memory contributes.
"""

NOTE = (
    "Differences are means over patients with 95 % intervals; no gain is shown where the interval "
    "contains 0. Networks without prompts (`none`) are compared with themselves before training."
)
SCORED = {
    "test": "Dice on the test cases, which took no part in training.",
    "validation part": (
        "Dice on validation patients that took no part in training; the others chose the steps."
    ),
    "val": (
        "Dice on the only validation patient, which also chose the steps, so gains are optimistic."
    ),
}
"""What a comparison is scored on, in words."""

HEAD = (
    "method",
    "prompt",
    "trainable parameters",
    "minutes",
    "best step",
    "before",
    "after",
    "difference (95 %)",
    "",
)


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """One row of the table: a method scored with one prompt, or why it could not be trained.

    Attributes:
        method: name.
        failed: why there are no figures; "" where there are.
        prompt: the plan, "none" for networks without prompts.
        parameters: number of trainable parameters.
        minutes, steps: of training.
        best_step: step whose weights were selected; 0 is the base itself.
        before, after: mean Dice.
        difference, low, high: mean of the patients' differences, and its 95 % interval.
        patients: number of patients with a difference.
        note: why there is no interval, or what to know of it.
    """

    method: str
    failed: str = ""
    prompt: str = ""
    parameters: int = 0
    minutes: float = math.nan
    steps: int = 0
    best_step: int = 0
    before: float = math.nan
    after: float = math.nan
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    patients: int = 0
    note: str = ""

    @property
    def cells(self) -> list[str]:
        """Texts of the Markdown table."""
        if self.failed:
            return [self.method, *["–"] * 7, self.failed.replace("|", "/")]
        remarks = []
        if not math.isnan(self.low):
            remarks.append(f"{self.low:+.3f} to {self.high:+.3f}")
        if self.note:
            remarks.append(self.note)
        return [
            self.method,
            self.prompt,
            f"{self.parameters:,}",
            f"{self.minutes:.1f}",
            f"{self.best_step} of {self.steps}",
            f"{self.before:.3f}",
            f"{self.after:.3f}",
            f"{self.difference:+.3f} ({', '.join(remarks)}), n {self.patients}",
            self._remark,
        ]

    @property
    def _remark(self) -> str:
        if not self.best_step:
            return "no gain shown: no step improved on the base by more than chance"
        if self.low > 0:
            return ""
        return "no gain shown"

    def as_dict(self) -> dict[str, str | int | float | None]:
        """Plain values for JSON and CSV; None where a number is unknown."""
        values = dataclasses.asdict(self)
        for name, value in values.items():
            if isinstance(value, float) and math.isnan(value):
                values[name] = None
        return values


# --- rows ----------------------------------------------------------------------------------------


def build_rows(
    methods: Sequence[str],
    trained: Mapping[str, saved.AdaptationRecord],
    failed: Mapping[str, str],
    results: Sequence[Row],
) -> list[ComparisonRow]:
    """Rows in the order of the methods.

    Args:
        methods: names.
        trained: records of the adaptations that were trained.
        failed: reasons of the others.
        results: rows of the evaluation.
    """
    by_model: dict[tuple[str, str], list[Row]] = {}
    for result in last_rounds(results):
        by_model.setdefault((result["model"], result["prompt"]), []).append(result)
    rows: list[ComparisonRow] = []
    for name in methods:
        if name in failed:
            rows.append(ComparisonRow(name, failed[name]))
        else:
            rows += _rows_of_method(name, trained[name], by_model)
    return rows


def base_name(record: saved.AdaptationRecord) -> str:
    """Name of the base of an adaptation."""
    return str(record.base["name"])


def _rows_of_method(
    name: str, record: saved.AdaptationRecord, by_model: Mapping[tuple[str, str], Sequence[Row]]
) -> Iterator[ComparisonRow]:
    reference = base_name(record)
    if not record.method.promptable:
        reference = f"{UNTRAINED} {name}"
    training = record.training
    for (model, prompt), after in by_model.items():
        if model != name:
            continue
        head = ComparisonRow(
            name,
            prompt=prompt,
            parameters=training["parameters"],
            minutes=training["seconds"] / 60,
            steps=training["steps"],
            best_step=int(record.figures["best"]["step"]),
        )
        before = by_model[reference, prompt]
        yield _fill_in(head, before, after, "dice")
        tracked = _tracked(after)
        if prompt == BOX and tracked:
            others = replace(head, prompt=f"{prompt}, other frames")
            yield _fill_in(others, _tracked(before), tracked, PROPAGATED)


def _tracked(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if PROPAGATED in row]


def _fill_in(
    head: ComparisonRow, before: Sequence[Row], after: Sequence[Row], score: str
) -> ComparisonRow:
    """The row with the figures of one score."""
    paired = gain(before, after, score)
    return replace(
        head,
        before=mean(before, score).mean,
        after=mean(after, score).mean,
        difference=paired.mean,
        low=paired.interval.low,
        high=paired.interval.high,
        patients=paired.n_groups,
        note=paired.interval.note,
    )


# --- files ---------------------------------------------------------------------------------------


def format_table(rows: Sequence[ComparisonRow]) -> str:
    """The table as Markdown."""
    lines = [HEAD, ["---"] * len(HEAD), *(row.cells for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write_table(
    folder: Path,
    title: str,
    rows: Sequence[ComparisonRow],
    facts: Mapping[str, Any],
    note: str = NOTE,
) -> None:
    """Write comparison.md, .csv and .json, with a note on the figures; the JSON also has `facts`
    about the comparison.
    """
    values = [row.as_dict() for row in rows]
    with atomic(folder / f"{TABLE}.md") as part:
        part.write_text(f"# {title}\n\n{format_table(rows)}\n{note}\n", encoding="utf-8")
    columns = [field.name for field in dataclasses.fields(ComparisonRow)]
    with (
        atomic(folder / f"{TABLE}.csv") as part,
        part.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(values)
    write_json(folder / f"{TABLE}.json", {**facts, "note": note, "rows": values})


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    with atomic(path) as part:
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
