"""`segscope data`: what a data set contains, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import typer

from segscope.cli import console
from segscope.cli.options import JsonOption
from segscope.errors import format_count

if TYPE_CHECKING:
    from segscope.io.datasets.dataset import Case, DataSet
    from segscope.io.datasets.faults import DatasetFault

app = typer.Typer(invoke_without_command=True)

PATH = typer.Argument(help="Folder or JSON list of a data set, or a folder of several.")
MAX_FINDINGS = 3  # of a kind that are printed
MAX_MODALITIES = 3


class SetRow(TypedDict):
    """One data set of the list."""

    name: str
    layout: str
    cases: int
    objects: int | None
    splits: dict[str, int]
    groups: int
    modalities: list[str]
    licence: str
    path: Path


@app.callback()
def data(context: typer.Context) -> None:
    """What a data set contains, and what is wrong with it."""
    if context.invoked_subcommand is None:
        console.print_line(context.get_help())


@app.command("list")
def list_sets(
    path: Path = PATH,
    fast: bool = typer.Option(False, "--fast", help="Do not open the masks to count objects."),
    as_json: JsonOption = False,
) -> None:
    """List data sets with their cases, objects, modalities and splits."""
    from segscope.io.datasets.reading import read_datasets

    sets = read_datasets(path)
    objects = None
    if not fast:
        objects = _count_objects(sets, quiet=as_json)
    rows = [_row(each, objects) for each in sets]
    if as_json:
        console.print_json(rows)
        return
    console.print_line(
        f"{'name':<28} {'cases':>6} {'objects':>8} {'groups':>7}  {'train/val/test':<16} modality"
    )
    for row in rows:
        console.print_line(_describe(row))


def _count_objects(sets: Sequence[DataSet], *, quiet: bool) -> Counter[str]:
    """Number of objects in the masks, by data set."""
    cases = [case for each in sets for case in each.cases]
    objects: Counter[str] = Counter()
    with console.progress("counting objects", quiet=quiet) as advance:
        for done, case in enumerate(cases, 1):
            objects[case.dataset] += _objects_of(case)
            advance(done, len(cases))
    return objects


def _row(each: DataSet, objects: Counter[str] | None) -> SetRow:
    return {
        "name": each.name,
        "layout": each.layout,
        "cases": len(each.cases),
        "objects": None if objects is None else objects[each.name],
        "splits": dict(Counter(case.split for case in each.cases)),
        "groups": len({case.group for case in each.cases}),
        "modalities": sorted({case.modality for case in each.cases if case.modality}),
        "licence": each.licence,
        "path": each.path,
    }


def _describe(row: SetRow) -> str:
    splits = "/".join(str(row["splits"].get(split, 0)) for split in ("train", "val", "test"))
    modalities = "; ".join(row["modalities"][:MAX_MODALITIES]) or "-"
    if len(row["modalities"]) > MAX_MODALITIES:
        modalities += " ..."
    objects = "-"
    if row["objects"] is not None:
        objects = str(row["objects"])
    counts = f"{row['cases']:>6} {objects:>8} {row['groups']:>7}"
    return f"{row['name']:<28} {counts}  {splits:<16} {modalities}"


@app.command()
def check(
    path: Path = PATH,
    workers: int = typer.Option(1, help="Worker processes that read cases."),
    fast: bool = typer.Option(
        False,
        "--fast",
        help="Read only three frames of each image, and do not look for objects in several pieces.",
    ),
    as_json: JsonOption = False,
) -> None:
    """Find faults of a data set that would spoil training or evaluation.

    Among them are unreadable files, masks whose grid differs from the image's, wrong label values,
    duplicates, and patients in several splits. The exit code is 1 if there are errors.
    """
    from segscope.io.datasets.check import check_dataset as find_faults

    cases = 0
    with console.progress("checking", quiet=as_json) as advance:

        def count(done: int, total: int) -> None:
            nonlocal cases
            cases = total
            advance(done, total)

        findings = find_faults(path, workers=workers, fast=fast, advance=count)
    by_severity = Counter(finding.severity for finding in findings)
    counts = {
        "cases": cases,
        "errors": by_severity["error"],
        "warnings": by_severity["warning"],
        "notes": by_severity["info"],
    }
    if as_json:
        rows = [{**asdict(finding), "why": finding.why} for finding in findings]
        console.print_json({**counts, "findings": rows})
    else:
        _print_findings(findings)
        totals = [format_count(count, name.removesuffix("s")) for name, count in counts.items()]
        console.print_line(", ".join(totals))
    if by_severity["error"]:
        raise typer.Exit(1)


def _print_findings(findings: Iterable[DatasetFault]) -> None:
    from segscope.io.datasets.check import group_by_kind

    for kind, entries in group_by_kind(findings):
        console.print_line(f"{kind.severity}: {kind.what} ({kind.kind}, {len(entries)})")
        for entry in entries[:MAX_FINDINGS]:
            console.print_line(f"  - {entry.case}: {console.single_line(entry.message)}")
        if len(entries) > MAX_FINDINGS:
            more = len(entries) - MAX_FINDINGS
            console.print_line(f"  - and {more} more; --json lists all of them")
        console.print_line(f"  {kind.why} {kind.remedy}\n")


def _objects_of(case: Case) -> int:
    """Number of objects in the masks of a case."""
    from segscope.io.datasets.reading import read_image, read_target

    if not case.targets:
        return 0
    stack = read_image(case)
    total = 0
    for target in case.targets:
        total += len({object_id for _, object_id in read_target(target, stack).runs})
    return total
