"""Feature cache: features of a frozen encoder, so that each view is encoded once."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from segscope.models.engine import Features


class FeatureCache:
    """Features by view, up to a number of bytes; views beyond that are encoded every time.

    Attributes:
        hits, misses: lookups that did, and did not, find a view.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.hits = 0
        self.misses = 0
        self._features: dict[Hashable, list[Features]] = {}

    def get(self, key: Hashable) -> list[Features] | None:
        features = self._features.get(key)
        if features is None:
            self.misses += 1
        else:
            self.hits += 1
        return features

    def get_or_add(self, key: Hashable, compute: Callable[[], list[Features]]) -> list[Features]:
        """The features of a view, computed and stored at its first lookup."""
        features = self.get(key)
        if features is None:
            features = compute()
            self.put(key, features)
        return features

    def put(self, key: Hashable, features: list[Features]) -> None:
        size = sum(each.bytes for each in features)
        if self.used_bytes + size <= self.limit_bytes:
            self._features[key] = features
            self.used_bytes += size


def count_variants(requested: int, frames: int, bytes_each: int, limit_bytes: int) -> int:
    """How many augmented views of each frame fit into the cache, at most `requested`; 0 when not
    even one view of every frame fits.
    """
    if 0 in (limit_bytes, frames, bytes_each):
        return 0
    return min(requested, limit_bytes // (frames * bytes_each))
