"""Exceptions a user may catch. Messages say what is wrong, what was expected and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def list_first(items: Iterable[object], count: int, separator: str = ", ") -> str:
    """The first `count` items as text for a message, with "..." where there are more."""
    texts = list(map(str, items))
    text = separator.join(texts[:count])
    if len(texts) > count:
        text += " ..."
    return text


def format_count(count: int, noun: str, plural: str = "") -> str:
    """A count with its noun ("1 file", "2 files"); `plural` is for those that do not just add s."""
    if count == 1:
        return f"{count} {noun}"
    return f"{count} {plural or noun + 's'}"


class SegscopeError(Exception):
    """Base of all errors that segscope raises on purpose, with the exit code of the commands."""

    exit_code = 1


class UsageError(SegscopeError):
    """An invalid request: an unknown name, a prompt outside the frame, an option that does not
    fit.
    """

    exit_code = 2


class PromptError(UsageError):
    """An invalid prompt: not finite, outside the frame, empty, of the wrong size."""


class UnknownName(UsageError):
    """An unknown name. The message lists similar ones."""

    def __init__(
        self,
        kind: str,
        name: str,
        known: Iterable[str],
        hint: str = "",
    ) -> None:
        known = list(known)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:8]
        super().__init__(f"no {kind} {name!r}; near: {', '.join(near)}. {hint}".rstrip())


class ReadError(SegscopeError):
    """A file that cannot be read in its format."""


class WriteError(SegscopeError):
    """A result that cannot be written. No partial file is left."""


class CheckpointError(SegscopeError):
    """Weights that cannot be loaded: unknown keys, wrong shapes, unsafe content, not reachable."""


class MissingExtra(SegscopeError):
    """An optional package is missing; the message names the extra to install."""


class Cancelled(SegscopeError):
    """The caller cancelled the work. Results finished before are not lost."""
