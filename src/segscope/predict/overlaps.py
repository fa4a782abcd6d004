"""From tracks to `Masks`: overlaps resolved, scores and the record of what made them."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, Literal

import numpy as np

from segscope.errors import UsageError
from segscope.masks import Masks, Runs, decode_runs, encode_runs
from segscope.predict.state import FrameResult, InferenceState, ObjectState

Overlap = Literal["highest", "keep"]
OVERLAPS: tuple[Overlap, ...] = ("highest", "keep")


def check_overlap(overlap: str) -> None:
    """Raise UsageError unless it is "highest" (a pixel goes to the object with the highest logit)
    or "keep".
    """
    if overlap not in OVERLAPS:
        raise UsageError(f"an overlap policy is {' or '.join(OVERLAPS)}, got {overlap!r}")


def compose(
    state: InferenceState,
    tracks: Mapping[int, ObjectState],
    overlap: Overlap,
    record: Mapping[str, Any],
) -> Masks:
    """All answers as `Masks`, on the frames of the stack."""
    runs: dict[tuple[int, int], Runs] = {}
    scores: dict[tuple[int, int], float] = {}
    for frame in sorted({frame for track in tracks.values() for frame in track.answers}):
        for object_id, track in sorted(tracks.items()):
            if frame in track.answers:
                scores[frame, object_id] = track.answers[frame].score
        for object_id, mask in compose_frame(state, tracks, frame, overlap).items():
            runs[frame, object_id] = mask
    stack = state.stack
    return Masks(
        stack.shape_zyx,
        runs,
        {object_id: track.name for object_id, track in tracks.items()},
        scores,
        stack.geometry,
        stack.times_s,
        dict(record),
        stack.axis,
        {object_id: dict(track.about) for object_id, track in tracks.items()},
    )


def compose_frame(
    state: InferenceState, tracks: Mapping[int, ObjectState], frame: int, overlap: Overlap
) -> dict[int, Runs]:
    """Masks on a frame by object, as they are displayed and written: those with pixels, overlaps
    resolved.

    Accepted and locked masks keep their pixels; of the others, the highest logit has a shared one.
    """
    answers: dict[int, FrameResult] = {}
    protected: set[int] = set()
    for object_id, track in sorted(tracks.items()):
        if frame not in track.answers or not track.answers[frame].area:
            continue
        answers[object_id] = track.answers[frame]
        if track.locked or frame in track.accepted:
            protected.add(object_id)
    runs = {object_id: answer.runs for object_id, answer in answers.items()}
    if overlap == "highest" and len(answers) > 1:
        runs |= _highest(state, answers, protected)
    return {object_id: mask for object_id, mask in runs.items() if len(mask) > 1}


def _highest(
    state: InferenceState, answers: Mapping[int, FrameResult], protected: Set[int]
) -> dict[int, Runs]:
    """Masks after each shared pixel went to the object with the highest logit there (the lower id
    where they tie).
    """
    size_hw = state.stack.size_hw
    masks = np.stack([decode_runs(answer.runs, size_hw) for answer in answers.values()])
    shared = masks.sum(axis=0, dtype=np.uint16) > 1
    if not shared.any():
        return {}
    logits = np.stack([state.logits(answer)[shared] for answer in answers.values()])
    inside = masks[:, shared]
    first = inside & np.array([object_id in protected for object_id in answers])[:, None]
    inside = np.where(first.any(axis=0), first, inside)
    winner = np.where(inside, logits, -np.inf).argmax(axis=0)
    masks[:, shared] = inside & (np.arange(len(masks))[:, None] == winner)
    return {object_id: encode_runs(mask) for object_id, mask in zip(answers, masks, strict=True)}
