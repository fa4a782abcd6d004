"""Where the workers of tests find their engine."""

from __future__ import annotations

from functools import cache

from segscope.load import load
from segscope.models.engine import Engine


@cache
def mini(name: str = "mini") -> Engine:
    """The engine of a name, loaded once a process."""
    return load(name, device="cpu")
