"""Clips of drifting ellipses."""

from __future__ import annotations

import numpy as np

from segscope.adapt.data.sampler import Example
from segscope.simulate.plan import Plan


def draw_example(
    frames: int = 8,
    seed: int = 0,
    plan: str = "mask",
    at: int = 0,
    side: int = 128,
    gone: tuple[int, ...] = (),
) -> Example:
    """Two bright ellipses that drift; the second one is not there on the frames `gone`."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] + 0.5
    starts, moves = rng.uniform(0.3, 0.7, (2, 2)), rng.uniform(-0.02, 0.02, (2, 2))
    truth = np.zeros((2, frames, side, side), bool)
    for k in range(2):
        for frame in range(frames):
            cx, cy = (starts[k] + frame * moves[k]) * side
            body = ((x - cx) / (0.14 * side)) ** 2 + ((y - cy) / (0.1 * side)) ** 2 < 1
            truth[k, frame] = body & (k == 0 or frame not in gone)
    grey = 60 + 90 * truth[0] + 40 * truth[1] + rng.normal(0, 5, truth.shape[1:])
    rgb = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, -1)
    parsed = Plan.parse(plan)
    classes = np.zeros(truth.shape[1:], np.int64)
    return Example(
        rgb,
        truth,
        ("a", "b"),
        classes,
        (parsed, parsed),
        ((), ()),
        at,
        np.random.default_rng(seed),
        None,
        True,
        "drawn",
    )
