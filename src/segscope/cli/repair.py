"""`segscope repair`: damaged logs, and a project database that is lost or does not fit them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from segscope.cli import console
from segscope.cli.options import JsonOption

if TYPE_CHECKING:
    from segscope.serve.project.repair import RepairReport


def repair(
    project: Path = typer.Argument(
        ..., exists=True, file_okay=False, help="Folder of an annotation project."
    ),
    check: bool = typer.Option(
        False, "--check", help="Report only; nothing is changed. The exit code is 1 on damage."
    ),
    as_json: JsonOption = False,
) -> None:
    """Repair the project of an annotation server, after a disk failure for example.

    A damaged log is kept up to its last good line. Sessions that the database does not list, or all
    of them if it is lost, are listed again as their logs describe them. Nothing is deleted: what is
    replaced or cut off is moved to the folder `damaged` of the project. Stop the server first.
    """
    from segscope.serve.project.repair import check_project, repair_project

    if check:
        report = check_project(project)
    else:
        report = repair_project(project)
    if as_json:
        console.print_json({**asdict(report), "sound": report.is_sound})
    else:
        _print(report)
    if not report.is_sound:
        raise typer.Exit(1)


def _print(report: RepairReport) -> None:
    for finding in report.findings:
        console.print_line(f"{console.single_line(finding.problem)}.")
        console.print_line(f"  {console.single_line(finding.action)}.")
    if not report.findings:
        console.print_line("no damage found")
    console.print_line(
        f"{report.sessions} session(s) with {report.commands} command(s) can be opened."
    )
