"""Writes docs/reference.md from the commands themselves. `make docs` runs it; a test checks that it was run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from segscope.cli.app import app

HEAD = """# Reference: the command line

Written by `docs/make_reference.py` from the commands themselves.

Every command takes `--help` and `--json`; exit codes are 0 (done), 1 (failed) and 2 (wrong use). `--debug` anywhere
shows the traceback of an error.
"""


def pages() -> Iterator[str]:
    """The parts of the reference, in order."""
    yield HEAD
    root: Any = typer.main.get_command(app)
    for name, command in root.commands.items():
        yield from _page(f"segscope {name}", command)


def _page(name: str, command: Any) -> Iterator[str]:
    yield f"\n## `{name}`\n\n{_text(command.help)}\n"
    rows = [
        _row(parameter)
        for parameter in command.params
        if parameter.name != "help" and not parameter.hidden
    ]
    if rows:
        yield "\n| | | |\n|---|---|---|\n" + "".join(rows)
    for below, inner in getattr(command, "commands", {}).items():
        yield from _page(f"{name} {below}", inner)


def _text(text: str | None) -> str:
    return "\n".join(line.strip() for line in (text or "").strip().splitlines())


def _row(parameter: Any) -> str:
    is_option = parameter.param_type_name == "option"
    called = parameter.opts if is_option else [parameter.metavar or parameter.name.upper()]
    names = ", ".join(f"`{name}`" for name in called)
    value = _value(parameter) if is_option and not getattr(parameter, "is_flag", False) else ""
    said = (parameter.help or "").replace("|", "\\|")
    default = parameter.default
    if parameter.required:
        said += " Required." if is_option else ""
    elif (
        default not in (None, False, [], ())
        and not callable(default)
        and not getattr(parameter, "is_flag", False)
    ):
        said += f" Default: `{getattr(default, 'value', default)}`."
    return f"| {names} | {f'`{value}`'.replace('|', chr(92) + '|') if value else ''} | {said.strip()} |\n"


def _value(parameter: Any) -> str:
    """What stands for the value, as `--help` shows it."""
    if parameter.metavar:
        return str(parameter.metavar)
    shown = str(parameter.display_type(typer.Context(typer.main.get_command(app)))).strip("<>")
    return shown if "|" in shown else shown.upper().removesuffix(" RANGE").replace("STR", "TEXT")


if __name__ == "__main__":
    os.environ["COLUMNS"] = "100"
    target = Path(__file__).with_name("reference.md") if len(sys.argv) < 2 else Path(sys.argv[1])
    target.write_text("".join(pages()), encoding="utf-8")
