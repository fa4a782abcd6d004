"""Output of the commands: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

Advance = Callable[[int, int], None]

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


def print_line(text: str = "") -> None:
    """A line of the result."""
    print(text)


def print_json(value: object) -> None:
    """The result as JSON."""
    print(json.dumps(value, indent=2, default=json_default))


def print_error(message: str, *, exit_code: int = 1, as_json: bool = False) -> None:
    """One paragraph on stderr; with `as_json` also an object on stdout."""
    paragraph = single_line(message)
    print(f"segscope: {paragraph}", file=sys.stderr)
    if as_json:
        print_json({"error": paragraph, "exit_code": exit_code})


def single_line(text: str) -> str:
    """Text on one line, with the control characters of file names and headers escaped."""
    characters = []
    for character in " ".join(text.split()):
        if character.isprintable():
            characters.append(character)
        else:
            characters.append(repr(character)[1:-1])
    return "".join(characters)


def yes_no(value: bool) -> str:
    """A truth value for people."""
    if value:
        return "yes"
    return "no"


def json_default(value: object) -> object:
    """JSON for what `json` does not know: mappings, arrays, numpy numbers, sets, paths."""
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    return str(value)


@contextmanager
def progress(description: str, *, quiet: bool = False) -> Iterator[Advance]:
    """A progress bar on stderr, on terminals only; yields a function of (done, total)."""
    if quiet or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
