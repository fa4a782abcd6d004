"""`segscope log`: the audit trail of a project."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import typer

from segscope.cli import console
from segscope.cli.options import JsonOption
from segscope.errors import UsageError

if TYPE_CHECKING:
    from segscope.serve.project.audit_trail import AuditEntry


def log(
    project: Path = typer.Argument(
        ..., exists=True, file_okay=False, help="Folder of an annotation project."
    ),
    session: str | None = typer.Option(
        None, metavar="ID", help="Only this session. Default: all of them."
    ),
    output: Path | None = typer.Option(
        None, "--output", "-o", metavar="FILE", help="CSV file to write. Default: print the lines."
    ),
    as_json: JsonOption = False,
) -> None:
    """Print who did what on which image and when, as the logs of a project say.

    Every line of a log is tied to the lines before it by a hash. A log whose lines were changed,
    removed or moved is reported, and the exit code is 1.
    """
    from segscope.serve.project.audit_trail import read_audit
    from segscope.serve.project.consistency import check_is_project

    check_is_project(project)
    audits = list(read_audit(project, session))
    if not audits:
        raise _no_logs_error(project, session)
    entries = [entry for audit in audits for entry in audit.entries]
    entries.sort(key=lambda entry: (entry.time, entry.session, entry.line))
    _write(entries, output, as_json)
    damages = [audit.damage for audit in audits if audit.damage]
    for damage in damages:
        console.print_error(damage)
    if damages:
        raise typer.Exit(1)


def _no_logs_error(project: Path, session: str | None) -> UsageError:
    if session is None:
        return UsageError(f"{project} has no sessions yet; there are no logs to read")
    return UsageError(
        f"{project} has no session {session}; without --session the logs of all sessions are "
        "printed, with their ids"
    )


def _write(entries: Iterable[AuditEntry], output: Path | None, as_json: bool) -> None:
    from segscope.files import atomic

    if as_json:
        console.print_json(list(map(asdict, entries)))
    elif output is None:
        _write_csv(entries, sys.stdout)
    else:
        with atomic(output) as part, part.open("w", newline="", encoding="utf-8") as file:
            _write_csv(entries, file)


def _write_csv(entries: Iterable[AuditEntry], file: TextIO) -> None:
    from segscope.serve.project.audit_trail import AuditEntry

    writer = csv.writer(file, lineterminator="\n")
    names = [field.name for field in fields(AuditEntry)]
    writer.writerow(names)
    for entry in entries:
        values = asdict(entry)
        writer.writerow([_cell(values[name]) for name in names])


def _cell(value: object) -> object:
    """A value that a spreadsheet does not take for a formula."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value
