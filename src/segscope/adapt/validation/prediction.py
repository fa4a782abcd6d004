"""Validation cases in front of `predict`: prompts of a run, answered as users are answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from segscope.adapt.data.training_set import Scan
from segscope.adapt.method import Adapted
from segscope.inference.crop import Crop, EncodedFrames
from segscope.memory import Fifo
from segscope.models.engine import Features
from segscope.predict.state import InferenceState
from segscope.prompts import Prompt
from segscope.render import Renderer
from segscope.simulate.plan import Plan


class StoredFeatures(EncodedFrames):
    """Features of a validation case; in the run's store where the encoder does not change."""

    def __init__(self, adapted: Adapted, case: int, frames: Renderer) -> None:
        super().__init__(adapted.engine, frames, video=len(frames) > 1)
        self.case = case
        self.store = adapted.frozen_store

    def get(self, frame: int, crop: Crop) -> Features:
        if self.store is None:
            return super().get(frame, crop)
        encode = super().get
        key = ("val", self.case, frame, crop)
        return self.store.get_or_add(key, lambda: [encode(frame, crop)])[0]


@contextmanager
def inference_state(adapted: Adapted, case: int, scan: Scan) -> Iterator[InferenceState]:
    """A validation case as `predict` sees a stack; closed at the end."""
    frames = Renderer(scan.stack)
    features = StoredFeatures(adapted, case, frames)
    state = InferenceState.of(scan.stack, adapted.engine, frames, Fifo(), features)
    try:
        yield state
    finally:
        state.spool.close()


def first_prompts(
    plans: Sequence[tuple[float, str]],
    truth: NDArray[np.bool_],
    frame: int,
    seed: tuple[int, ...],
) -> list[Prompt]:
    """Prompts of the first round for one object; the same at every validation.

    Args:
        plans: (weight, plan) pairs of a run; one of them is drawn.
        truth: (frame, row, column) bool, the object.
        frame: where it is prompted.
        seed: of the object.
    """
    weights = np.array([weight for weight, _ in plans])
    chosen = np.random.default_rng((8, *seed)).choice(len(plans), p=weights / weights.sum())
    plan = Plan.parse(plans[int(chosen)][1])
    return plan.first(truth, np.random.default_rng(seed), frames=[frame])
