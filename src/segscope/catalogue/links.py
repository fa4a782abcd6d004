"""Links from records to the models, methods, protocols and commands of segscope that implement
them.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import chain

from segscope.catalogue.record import RecordError

KINDS = ("model", "method", "protocol", "memory", "command")
LEVELS = {
    "full": "the work itself",
    "adapter": "its method, with networks of segscope",
    "protocol": "its evaluation protocol",
    "similar": "something similar",
}


@dataclass(frozen=True, slots=True)
class Link:
    """One record, and what implements it.

    Attributes:
        record: id.
        kind: table that has the entry `key`, one of KINDS.
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
                f"a link of {self.record} has kind {self.kind!r} and level {self.level!r}; "
                f"expected one of {', '.join(KINDS)}, and one of {', '.join(LEVELS)}"
            )


@cache
def links() -> Mapping[str, tuple[Link, ...]]:
    """Links by record id."""
    text = (resources.files("segscope.catalogue") / "data" / "links.toml").read_text("utf-8")
    by_record: dict[str, list[Link]] = defaultdict(list)
    for value in tomllib.loads(text)["link"]:
        link = Link(**value)
        by_record[link.record].append(link)
    return {record: tuple(each) for record, each in by_record.items()}


def records_of(kind: str, key: str) -> list[str]:
    """Ids of the records that an entry of a table goes back to."""
    every = chain.from_iterable(links().values())
    return [link.record for link in every if (link.kind, link.key) == (kind, key)]
