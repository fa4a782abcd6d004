"""Names of the outputs of a published network, whose file does not hold them."""

from __future__ import annotations

from collections.abc import Sequence


def name_outputs(count: int, classes: Sequence[str]) -> tuple[str, ...]:
    """The names that a user gave, whatever their number; without any, names for `count` outputs."""
    if classes:
        return tuple(classes)
    if count == 1:
        return ("object",)
    return tuple(f"object {k}" for k in range(1, count + 1))
