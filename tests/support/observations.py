"""Examples made of numbers, without images or networks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segscope.inference.learning.example import Example, Source

CHANNELS = 6
PLACES = 11


def observe(
    seed: int = 0,
    *,
    group: str | None = None,
    image: str | None = None,
    frame: int = 0,
    label: str = "cell",
    counts: tuple[int, int, int] = (40, 30, 20),
    signal: float = 1.5,
    network: float = 1.0,
    features: NDArray[np.float64] | None = None,
) -> Example:
    """An example whose first feature says what is inside, as well as `signal` does.

    Args:
        counts: sampled cells in each stratum.
        network: how sure its logits are on average, in their spread.
        features: (N, channel) in place of those.
    """
    rng = np.random.default_rng(seed)
    strata = np.repeat([0, 1, 2], counts).astype(np.uint8)
    inside = strata == 0
    if features is None:
        features = rng.normal(size=(len(strata), CHANNELS))
        features[:, 0] += np.where(inside, signal, -signal)
    places = rng.normal(size=(len(strata), PLACES))
    logits = rng.normal(size=len(strata)) + np.array([network, -network, -9.0])[strata]
    inner, in_box, outer = counts
    return Example(
        Source(label, image or f"image {seed}", group or f"group {seed}", frame),
        "weights-256",
        features.astype(np.float16),
        places.astype(np.float16),
        strata,
        (inner * 10, in_box * 8, outer * 40),
        logits.astype(np.float32),
        _means(features, inside).astype(np.float32),
        (20.0, 16.0),
        0.8,
    )


def _means(features: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    parts = [features[side] if side.any() else features for side in (inside, ~inside)]
    return np.concatenate([part.mean(0) for part in parts])
