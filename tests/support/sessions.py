"""What tests of sessions do with interactions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from segscope.masks import Masks
from segscope.models.engine import Engine
from segscope.session import Interaction
from segscope.stack import Stack


def run(work: Interaction, **options: Any) -> list[tuple[int, int]]:
    """Propagate to the end; (frame, object) in the order of the answers."""
    return [(answer.frame, answer.object_id) for answer in work.propagate(**options)]


def resumed(log: Path, clip: Stack, engine: Engine, state: Path | None = None) -> Masks:
    """Masks of a session that is resumed from its log."""
    with Interaction.resume(log, clip, engine, state=state) as again:
        return again.masks()


def same(one: Masks, other: Masks) -> bool:
    """Whether labels, scores and names are equal."""
    return (
        np.array_equal(one.labels, other.labels)
        and one.scores == other.scores
        and one.names == other.names
    )


def same_runs(one: Masks, other: Masks) -> bool:
    """Whether the run lengths of every object on every frame are equal."""
    return one.runs.keys() == other.runs.keys() and all(
        np.array_equal(one.runs[key], other.runs[key]) for key in one.runs
    )
