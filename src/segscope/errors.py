"""Exceptions a user may catch. Each message says what was found, what was wanted and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SegscopeError(Exception):
    """Base of all errors that segscope raises on purpose. `exit_code` is what the command line ends
    with.
    """

    exit_code = 1


class UsageError(SegscopeError):
    """The request itself is wrong: an unknown name, a prompt outside the frame, an option that does
    not fit.
    """

    exit_code = 2


class PromptError(UsageError):
    """A prompt that cannot be meant: not finite, outside the frame, empty, of the wrong size."""


class UnknownName(UsageError):
    """A name that no table holds. The message lists near ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        known = list(known)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:8]
        super().__init__(f"no {kind} {name!r}; near: {', '.join(near)}. {hint}".rstrip())


class ReadError(SegscopeError):
    """A file that cannot be read as what it says it is."""


class WriteError(SegscopeError):
    """A result that cannot be written as asked. Nothing is left behind."""


class CheckpointError(SegscopeError):
    """Weights that cannot be loaded: unknown keys, wrong shapes, unsafe content, not reachable."""


class MissingExtra(SegscopeError):
    """An optional package is needed; the message names the extra that brings it."""


class Cancelled(SegscopeError):
    """The caller asked to stop. What was finished before is kept."""
