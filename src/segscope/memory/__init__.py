"""Which past frames a tracker keeps: one policy a file, in one table."""

from __future__ import annotations

from segscope.errors import UnknownName
from segscope.memory.fifo import Fifo
from segscope.memory.gated import Gated
from segscope.memory.policy import MemoryPolicy, Past
from segscope.memory.pruned import Pruned
from segscope.memory.sorted import SelfSorting

POLICIES: tuple[MemoryPolicy, ...] = (
    Fifo(),
    Pruned(),
    Gated(),
    SelfSorting(),
    SelfSorting("self-sorting-set", ordered=False),
)

__all__ = ["POLICIES", "Fifo", "Gated", "MemoryPolicy", "Past", "Pruned", "SelfSorting", "policy"]


def policy(name: str | MemoryPolicy) -> MemoryPolicy:
    """The policy of a name; an object that is one already is returned as it is.

    Raises:
        UnknownName: no such policy.
    """
    if not isinstance(name, str):
        return name
    for entry in POLICIES:
        if entry.name == name:
            return entry
    raise UnknownName("memory policy", name, [entry.name for entry in POLICIES])
