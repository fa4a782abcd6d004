"""`segscope data`: what a data set holds, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from segscope.cli import console

app = typer.Typer(help="Data sets: list, check.", invoke_without_command=True)

JSON = typer.Option(False, "--json", help="Result as JSON on stdout.")
PATH = typer.Argument(help="Folder or JSON list of a data set, or a folder of several.")
SHOWN = 3


@app.callback()
def data(context: typer.Context) -> None:
    """What a data set holds, and what is wrong with it."""
    if context.invoked_subcommand is None:
        console.say(context.get_help())


@app.command("list")
def list_sets(
    path: Path = PATH,
    fast: bool = typer.Option(False, "--fast", help="Do not open the masks to count objects."),
    as_json: bool = JSON,
) -> None:
    """Sets, cases, objects, modalities and splits of a data set, or of a folder of several."""
    from segscope.io.datasets.reading import datasets

    sets = datasets(path)
    cases = [case for each in sets for case in each.cases]
    objects: Counter[str] = Counter()
    with console.progress("counting objects", quiet=as_json or fast) as advance:
        for done, case in enumerate(() if fast else cases, 1):
            objects[case.dataset] += _objects(case)
            advance(done, len(cases))
    rows = [
        {
            "name": each.name,
            "layout": each.layout,
            "cases": len(each.cases),
            "objects": None if fast else objects[each.name],
            "splits": dict(Counter(case.split for case in each.cases)),
            "groups": len({case.group for case in each.cases}),
            "modalities": sorted({case.modality for case in each.cases if case.modality}),
            "licence": each.licence,
            "path": each.path,
        }
        for each in sets
    ]
    if as_json:
        console.say_json(rows)
        return
    console.say(
        f"{'name':<28} {'cases':>6} {'objects':>8} {'groups':>7}  {'train/val/test':<16} modality"
    )
    for row in rows:
        splits = "/".join(str(row["splits"].get(split, 0)) for split in ("train", "val", "test"))
        modalities = "; ".join(row["modalities"][:3]) + (
            " ..." if len(row["modalities"]) > 3 else ""
        )
        if fast:
            shown = "-"
        else:
            shown = row["objects"]
        console.say(
            f"{row['name']:<28} {row['cases']:>6} {shown:>8} {row['groups']:>7}  {splits:<16} {modalities or '-'}"
        )


@app.command()
def check(
    path: Path = PATH,
    workers: int = typer.Option(1, help="Processes that read cases."),
    fast: bool = typer.Option(
        False, "--fast", help="Three frames of each image only; no search for split objects."
    ),
    as_json: bool = JSON,
) -> None:
    """Look for what would spoil training or figures; exit code 1 when there are errors.

    Files that cannot be read, masks on another grid, wrong label values, duplicates, patients in
    several splits ...
    """
    from segscope.io.datasets.check import by_kind, check

    total = 0
    with console.progress("checking", quiet=as_json) as advance:

        def told(done: int, cases: int) -> None:
            nonlocal total
            total = cases
            advance(done, cases)

        found = check(path, workers=workers, fast=fast, advance=told)
    counts = Counter(entry.severity for entry in found)
    said = {
        "cases": total,
        "errors": counts["error"],
        "warnings": counts["warning"],
        "notes": counts["info"],
    }
    if as_json:
        console.say_json(
            {**said, "findings": [{**asdict(entry), "why": entry.why} for entry in found]}
        )
    else:
        for kind, entries in by_kind(found):
            console.say(f"{kind.severity}: {kind.what} ({kind.kind}, {len(entries)})")
            for entry in entries[:SHOWN]:
                console.say(f"  - {entry.case}: {console.printable(entry.message)}")
            if len(entries) > SHOWN:
                console.say(f"  - and {len(entries) - SHOWN} more; --json names all")
            console.say(f"  {kind.why} {kind.remedy}\n")
        console.say(", ".join(f"{count} {name}" for name, count in said.items()))
    if counts["error"]:
        raise typer.Exit(1)


def _objects(case: Any) -> int:
    """Objects in the truths of a case."""
    from segscope.io.datasets.reading import read_image, read_target

    if not case.targets:
        return 0
    stack = read_image(case)
    return sum(
        len({label for _, label in read_target(target, stack).runs}) for target in case.targets
    )
