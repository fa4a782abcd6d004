"""From tracks to `Masks`: overlaps settled, scores and the record of what made them."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, Literal

import numpy as np

from segscope.errors import UsageError
from segscope.masks import Masks, Runs, decode_runs, encode_runs
from segscope.predict.object_state import FrameResult, ObjectState
from segscope.predict.state import InferenceState

Overlap = Literal["highest", "keep"]
OVERLAPS: tuple[Overlap, ...] = ("highest", "keep")


def check_overlap(overlap: str) -> None:
    """Raise UsageError unless it is "highest" (a pixel goes to the object with the highest logit)
    or "keep".
    """
    if overlap not in OVERLAPS:
        raise UsageError(f"an overlap policy is {' or '.join(OVERLAPS)}, got {overlap!r}")


def compose(
    scene: InferenceState,
    tracks: Mapping[int, ObjectState],
    overlap: Overlap,
    record: Mapping[str, Any],
) -> Masks:
    """All answers as `Masks`, on the frames of the stack."""
    runs: dict[tuple[int, int], Runs] = {}
    scores: dict[tuple[int, int], float] = {}
    for frame in sorted({frame for track in tracks.values() for frame in track.answers}):
        answered = {
            object_id: track
            for object_id, track in sorted(tracks.items())
            if frame in track.answers
        }
        scores.update(
            {
                (frame, object_id): track.answers[frame].score
                for object_id, track in answered.items()
            }
        )
        found = settled(scene, tracks, frame, overlap)
        runs.update({(frame, object_id): mask for object_id, mask in found.items()})
    stack = scene.stack
    names = {object_id: track.name for object_id, track in tracks.items()}
    about = {object_id: dict(track.about) for object_id, track in tracks.items()}
    return Masks(
        stack.shape_zyx,
        runs,
        names,
        scores,
        stack.geometry,
        stack.times_s,
        dict(record),
        stack.axis,
        about,
    )


def settled(
    scene: InferenceState, tracks: Mapping[int, ObjectState], frame: int, overlap: Overlap
) -> dict[int, Runs]:
    """Masks on a frame by object, as they are shown and written: those with pixels, overlaps
    settled.

    Accepted and locked masks keep their pixels; of the others, the highest logit has a shared one.
    """
    filled = {
        object_id: track.answers[frame]
        for object_id, track in sorted(tracks.items())
        if frame in track.answers and track.answers[frame].area
    }
    kept = {
        object_id
        for object_id in filled
        if tracks[object_id].locked or frame in tracks[object_id].accepted
    }
    if overlap == "highest" and len(filled) > 1:
        apart = _highest(scene, filled, kept)
    else:
        apart = {}
    found = {object_id: apart.get(object_id, answer.runs) for object_id, answer in filled.items()}
    return {object_id: runs for object_id, runs in found.items() if len(runs) > 1}


def _highest(
    scene: InferenceState, answers: Mapping[int, FrameResult], kept: Set[int]
) -> dict[int, Runs]:
    """Masks after each shared pixel went to the object with the highest logit there (the lower id
    where they tie).
    """
    size_hw = scene.stack.size_hw
    masks = np.stack([decode_runs(answer.runs, size_hw) for answer in answers.values()])
    shared = masks.sum(axis=0, dtype=np.uint16) > 1
    if not shared.any():
        return {}
    logits = np.stack([scene.logits(answer)[shared] for answer in answers.values()])
    inside = masks[:, shared]
    first = inside & np.array([object_id in kept for object_id in answers])[:, None]
    inside = np.where(first.any(axis=0), first, inside)
    winner = np.where(inside, logits, -np.inf).argmax(axis=0)
    masks[:, shared] = inside & (np.arange(len(masks))[:, None] == winner)
    return {object_id: encode_runs(mask) for object_id, mask in zip(answers, masks, strict=True)}
