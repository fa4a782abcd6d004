"""Notes: what users read beside a learned answer."""

from __future__ import annotations

import re

from segscope.errors import format_count

_COUNT = re.compile(r"\blearned from (\d+) example")


def note_learned(count: int) -> str:
    """The note of an answer that was learned from so many examples."""
    return f"learned from {format_count(count, 'example')}"


def count_learned(note: str) -> int:
    """How many examples an answer with this note was learned from; 0 for a plain one."""
    match = _COUNT.search(note)
    if match is None:
        return 0
    return int(match[1])
