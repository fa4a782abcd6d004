"""Chunks of neighbouring slices that pass an encoder together, to loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from segscope.adapt.data.sampler import LEAST, Example, on_grid
from segscope.adapt.losses.interactive import interactive
from segscope.adapt.losses.single_decode import Measure, opening_terms
from segscope.adapt.method import Adapted, Terms, mean_terms


def chunk_loss(adapted: Adapted, batch: Sequence[Example], measure: Measure | None = None) -> Terms:
    """Mean loss of chunks: each object is prompted on every slice where it is, and not where it is
    not.

    Args:
        measure: of single masks for the opening prompts; None for answers and corrections as usual.
    """
    parts = []
    for example in batch:
        features = on_grid(adapted.features(example), example)
        slices = []
        for frame, seen in enumerate(features):
            here = _slice(example, frame)
            if here is None:
                continue
            if measure is None:
                slices.append(interactive(adapted.engine, seen, here))
            else:
                slices.append(opening_terms(adapted.engine, seen, here, measure))
        parts.append(
            {name: torch.stack([each[name] for each in slices]).mean() for name in slices[0]}
        )
    return mean_terms(parts)


def _slice(example: Example, frame: int) -> Example | None:
    """One slice of a chunk with the objects on it; None without any."""
    least = LEAST
    if frame == example.at:
        least = 1
    members = [k for k, masks in enumerate(example.truth) if masks[frame].sum() >= least]
    if not members:
        return None
    prompts = [
        example.prompts[k]
        if frame == example.at
        else tuple(example.plans[k].first(example.truth[k, frame : frame + 1], example.rng))
        for k in members
    ]
    return replace(
        example,
        truth=example.truth[members],
        labels=tuple(example.labels[k] for k in members),
        plans=tuple(example.plans[k] for k in members),
        prompts=tuple(prompts),
        at=frame,
    )
