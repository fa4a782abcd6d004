"""Chunks of neighbouring slices that pass an encoder together, to loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
        for frame in range(len(features)):
            prompted = _prompted_slice(example, frame)
            if prompted is None:
                continue
            if measure is None:
                terms = interactive(adapted.engine, features[frame], prompted)
            else:
                terms = opening_terms(adapted.engine, features[frame], prompted, measure)
            slices.append(terms)
        parts.append(mean_terms(slices))
    return mean_terms(parts)


def _prompted_slice(example: Example, frame: int) -> Example | None:
    """One slice of a chunk with the objects on it; None without any."""
    if frame == example.at:
        least = 1
    else:
        least = LEAST
    members = [k for k, masks in enumerate(example.truth) if masks[frame].sum() >= least]
    if not members:
        return None
    plans = tuple(example.plans[k] for k in members)
    if frame == example.at:
        prompts = [example.prompts[k] for k in members]
    else:
        truth = example.truth[members, frame : frame + 1]
        prompts = [
            tuple(plan.first(mask, example.rng)) for plan, mask in zip(plans, truth, strict=True)
        ]
    return replace(
        example,
        truth=example.truth[members],
        labels=tuple(example.labels[k] for k in members),
        plans=plans,
        prompts=tuple(prompts),
        at=frame,
    )
