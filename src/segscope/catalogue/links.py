"""What of a work runs here: links between records and members of segscope's tables, by key."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from segscope.catalogue.record import RecordError

KINDS = ("model", "method", "protocol", "memory", "command")
LEVELS = {
    "full": "the work itself",
    "adapter": "its method, on networks of ours",
    "protocol": "its way of judging",
    "similar": "something like it",
}


@dataclass(frozen=True, slots=True)
class Link:
    """One record and what runs it.

    Attributes:
        record: id.
        kind: which table `key` is a member of, one of KINDS.
        level: one of LEVELS.
        command: what to type.
    """

    record: str
    kind: str
    key: str
    level: str
    command: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.level not in LEVELS:
            raise RecordError(
                f"a link of {self.record} has kind {self.kind!r}, level {self.level!r}"
            )


@cache
def links() -> Mapping[str, tuple[Link, ...]]:
    """Links by record id."""
    text = (resources.files("segscope.catalogue") / "data" / "links.toml").read_text("utf-8")
    found: dict[str, list[Link]] = defaultdict(list)
    values: list[dict[str, Any]] = tomllib.loads(text)["link"]
    for value in values:
        found[value["record"]].append(Link(**value))
    return {record: tuple(each) for record, each in found.items()}


def records_of(kind: str, key: str) -> list[str]:
    """Ids of the records that a member of a table goes back to: the way back from a card, method or
    protocol.
    """
    return [
        link.record
        for each in links().values()
        for link in each
        if (link.kind, link.key) == (kind, key)
    ]
