"""`segscope adapt compare`: several methods under one budget, a table and a report out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from segscope.cli import console
from segscope.cli.evaluate import usual_workers
from segscope.errors import UsageError

if TYPE_CHECKING:
    from segscope.cli.adapt import Adapt


def compare(asked: Adapt, methods: Sequence[str], cases: int) -> None:
    """Train and judge; without methods, all of them."""
    from functools import partial

    from segscope.adapt import METHODS
    from segscope.evaluate.compare import MethodComparison, compare_methods
    from segscope.evaluate.comparison_table import TABLE, format_table
    from segscope.io.datasets.reading import dataset
    from segscope.load import load

    if asked.own:
        raise UsageError(
            "--set is for one method; compare trains each with the settings that suit the base"
        )
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UsageError("compare works in one process; start it without torchrun")
    comparison = MethodComparison(
        asked.source,
        tuple(dict.fromkeys(methods)) or tuple(METHODS),
        tuple(dataset(path) for path in asked.data),
        asked.choice,
        asked.changes,
        asked.out.expanduser(),
        cases,
    )
    with console.progress("comparing", quiet=asked.as_json) as advance:
        result = compare_methods(
            comparison,
            partial(load, device=asked.device),
            asked.fresh,
            resume=asked.resume,
            workers=usual_workers(asked.device),
            tell=(lambda _text: None) if asked.as_json else console.say,
            progress=advance,
        )
    if result.stopped:
        code = 128 + result.stopped
        console.complain(
            "stopped; the same command with --resume goes on from there", exit_code=code
        )
        raise typer.Exit(code)
    if asked.as_json:
        rows = [row.as_dict() for row in result.rows]
        console.say_json({"folder": comparison.out, "report": result.report, "rows": rows})
        return
    console.say(format_table(result.rows))
    console.say(f"table: {comparison.out / TABLE}.md, .csv, .json; report: {result.report}")
