"""Kept features of a frozen encoder: each view is encoded once."""

from __future__ import annotations

from collections.abc import Hashable

from segscope.models.engine import Features


class FeatureCache:
    """Features by view, up to a number of bytes; what no longer fits is computed each time.

    Attributes:
        hits, misses: how often a view was there, and was not.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = self.hits = self.misses = 0
        self._kept: dict[Hashable, list[Features]] = {}

    def get(self, key: Hashable) -> list[Features] | None:
        found = self._kept.get(key)
        self.hits += found is not None
        self.misses += found is None
        return found

    def put(self, key: Hashable, features: list[Features]) -> None:
        size = sum(each.bytes for each in features)
        if self.held_bytes + size <= self.limit_bytes:
            self._kept[key] = features
            self.held_bytes += size


def variants(wanted: int, views: int, bytes_each: int, limit_bytes: int) -> int:
    """How many augmented views of each frame fit; 0 when not even one of every frame does."""
    if not limit_bytes or not views or not bytes_each:
        return 0
    return min(wanted, limit_bytes // (views * bytes_each))
