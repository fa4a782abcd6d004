"""What the commands say: results on stdout, progress and complaints on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Advance = Callable[[int, int], None]


def complain(message: str, *, exit_code: int = 1, as_json: bool = False) -> None:
    """One paragraph on stderr; with `as_json` also an object on stdout."""
    paragraph = printable(message)
    print(f"segscope: {paragraph}", file=sys.stderr)
    if as_json:
        say_json({"error": paragraph, "exit_code": exit_code})


def printable(text: str) -> str:
    """Text on one line, without control characters that a file name or header may have brought."""
    return "".join(
        character if character.isprintable() else repr(character)[1:-1]
        for character in " ".join(text.split())
    )


def say(text: str = "") -> None:
    """A line of the result."""
    print(text)


def say_json(value: Any) -> None:
    """The result as JSON."""
    print(json.dumps(value, indent=2, default=plain))


def plain(value: Any) -> Any:
    """What json does not know: mappings, arrays, numpy numbers, paths."""
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
def progress(what: str, *, quiet: bool = False) -> Iterator[Advance]:
    """A bar on stderr while a block runs, when somebody is looking; gives a function (done, total)."""
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
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
