"""Which members the tables of segscope have that papers link to: looked up when asked, since some
of them are slow.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache


def runs(identifier: str) -> list[tuple[str, bool]]:
    """Commands that run something of a record, and whether they are there yet."""
    from segscope.catalogue.links import links

    return [(link.command, ready(link.kind, link.key)) for link in links().get(identifier, ())]


def ready(kind: str, key: str) -> bool:
    """Whether a table has a member."""
    return key in members(kind)


@cache
def members(kind: str) -> Collection[str]:
    """Names in the table of a kind of link; that of methods imports torch."""
    if kind == "model":
        from segscope.models.model_cards import CARDS

        return {entry.name for entry in CARDS}
    if kind == "method":
        from segscope.adapt import METHODS

        return set(METHODS)
    if kind == "protocol":
        from importlib import resources

        folder = resources.files("segscope.evaluate") / "protocols"
        return {
            each.name.removesuffix(".toml")
            for each in folder.iterdir()
            if each.name.endswith(".toml")
        }
    if kind == "memory":
        from segscope.memory import POLICIES

        return {entry.name for entry in POLICIES}
    from segscope.cli.app import app as root

    names = {entry.name for entry in root.registered_commands} | {
        entry.name for entry in root.registered_groups
    }
    return {name for name in names if name}
