"""What was found wrong, or worth a look, in a source: one line each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to look at.

    Attributes:
        kind: a word to filter by, for instance "malformed row".
        where: the line, record or address.
        what: what was found, and what was done about it.
    """

    kind: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.what}"
