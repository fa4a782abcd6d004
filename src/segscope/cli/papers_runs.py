"""What of a paper runs here: the tables of segscope that links of the catalogue point into.

A table is read when it is needed, since importing some of them is slow.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import TYPE_CHECKING

from segscope.cli import COMMANDS

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


def runs_of(identifier: str) -> list[tuple[str, bool]]:
    """Commands that run something of a record, and whether they exist yet."""
    from segscope.catalogue.links import links

    return [(link.command, is_ready(link.kind, link.key)) for link in links().get(identifier, ())]


def is_ready(kind: str, key: str) -> bool:
    """Whether the table of a kind of link has an entry."""
    return key in members_of(kind)


def protocol_files() -> list[Traversable]:
    """The files of the built-in protocols, without `segscope.evaluate`, which imports slowly."""
    from importlib import resources

    folder = resources.files("segscope.evaluate") / "protocols"
    return [path for path in folder.iterdir() if path.name.endswith(".toml")]


@cache
def members_of(kind: str) -> Collection[str]:
    """Names in the table of a kind of link; that of methods imports torch."""
    if kind == "model":
        from segscope.models.model_cards import CARDS

        return {entry.name for entry in CARDS}
    if kind == "method":
        from segscope.adapt import METHODS

        return set(METHODS)
    if kind == "protocol":
        return {path.name.removesuffix(".toml") for path in protocol_files()}
    if kind == "memory":
        from segscope.memory import POLICIES

        return {entry.name for entry in POLICIES}
    return {command.name for command in COMMANDS}
