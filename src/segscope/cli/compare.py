"""`segscope compare`: several adaptation methods under one budget to a table and a report."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import typer

from segscope.cli import console
from segscope.cli.evaluate import default_workers
from segscope.cli.options import expand_options
from segscope.cli.training_options import TrainingOptions
from segscope.errors import UsageError

if TYPE_CHECKING:
    from segscope.evaluate.compare import ComparisonResult, MethodComparison

DEFAULT_MINUTES = 3.0


@expand_options
def compare(
    options: TrainingOptions,
    methods: list[str] | None = typer.Argument(
        None, metavar="METHOD", help="Adaptation methods. Default: all of them."
    ),
    max_cases: int = typer.Option(
        0, min=0, help="Evaluate on at most this many cases per data set; 0 for all."
    ),
) -> None:
    """Train several adaptation methods under one budget, and compare them with their base.

    Each method trains for --minutes (default 3) on the same patients. `segscope evaluate` then
    scores the base and all adaptations on patients that took no part in training: those of the test
    cases, or else a part of the validation patients. --out receives the adaptations, a table
    (comparison.md, .csv, .json) and a report. An interrupted comparison continues with --resume,
    which can also add methods.
    """
    options.check()
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UsageError("compare runs in one process; start it without torchrun")
    if options.steps is None and options.minutes is None:
        options = dataclasses.replace(options, minutes=DEFAULT_MINUTES)
    comparison = _make_comparison(options, methods or (), max_cases)
    result = _run(comparison, options)
    if result.stopped:
        exit_code = 128 + result.stopped
        console.print_error(
            "stopped; run the same command with --resume to continue", exit_code=exit_code
        )
        raise typer.Exit(exit_code)
    _print_result(comparison, result, as_json=options.as_json)


def _make_comparison(
    options: TrainingOptions, methods: Sequence[str], max_cases: int
) -> MethodComparison:
    from segscope.adapt import METHODS
    from segscope.evaluate.compare import MethodComparison

    names = tuple(dict.fromkeys(methods)) or tuple(METHODS)
    changes = {"steps": 0, **options.changes()}
    return MethodComparison(
        options.base_source(),
        names,
        options.read_sets(),
        options.choice(),
        changes,
        options.folder,
        max_cases,
    )


def _run(comparison: MethodComparison, options: TrainingOptions) -> ComparisonResult:
    from functools import partial

    from segscope.evaluate.compare import Loaders, compare_methods
    from segscope.load import load

    device = options.device.value
    tell: Callable[[str], None] = console.print_line
    if options.as_json:
        tell = _ignore
    with console.progress("comparing", quiet=options.as_json) as advance:
        return compare_methods(
            comparison,
            Loaders(partial(load, device=device), options.load_base),
            resume=options.resume,
            workers=default_workers(device),
            tell=tell,
            progress=advance,
        )


def _ignore(_text: str) -> None:
    """Messages for people have no place beside JSON."""


def _print_result(comparison: MethodComparison, result: ComparisonResult, *, as_json: bool) -> None:
    from segscope.evaluate.comparison_table import TABLE, format_table

    if as_json:
        rows = [row.as_dict() for row in result.rows]
        console.print_json({"folder": comparison.out, "report": result.report, "rows": rows})
        return
    console.print_line(format_table(result.rows))
    console.print_line(f"table: {comparison.out / TABLE}.md, .csv, .json; report: {result.report}")
