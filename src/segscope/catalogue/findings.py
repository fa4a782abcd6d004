"""Problems in a source, and other facts that a person should look at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CatalogueFinding:
    """One problem or fact.

    Attributes:
        kind: a phrase to filter by, for instance "malformed row".
        where: the line, record or address.
        what: the problem, and how it was handled.
    """

    kind: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.what}"
