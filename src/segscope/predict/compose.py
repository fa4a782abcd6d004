"""From tracks to `Masks`: overlaps settled, scores and the record of what made them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from segscope.errors import UsageError
from segscope.masks import Masks, Runs, decode_runs, encode_runs
from segscope.predict.scene import Scene
from segscope.predict.track import Answer, Track

Overlap = Literal["highest", "keep"]
OVERLAPS: tuple[Overlap, ...] = ("highest", "keep")


def check_overlap(overlap: str) -> None:
    """Raise UsageError unless it is "highest" (a pixel goes to the object with the highest logit) or "keep"."""
    if overlap not in OVERLAPS:
        raise UsageError(f"an overlap policy is {' or '.join(OVERLAPS)}, got {overlap!r}")


def compose(scene: Scene, tracks: Mapping[int, Track], overlap: Overlap, record: Mapping[str, Any]) -> Masks:
    """All answers as `Masks`, on the frames of the stack."""
    frames: dict[int, dict[int, Answer]] = {}
    for object_id, track in sorted(tracks.items()):
        for frame, answer in track.answers.items():
            frames.setdefault(frame, {})[object_id] = answer
    runs: dict[tuple[int, int], Runs] = {}
    scores: dict[tuple[int, int], float] = {}
    for frame, answers in sorted(frames.items()):
        scores.update({(frame, object_id): answer.score for object_id, answer in answers.items()})
        filled = {object_id: answer for object_id, answer in answers.items() if answer.area}
        settled = _highest(scene, filled) if overlap == "highest" and len(filled) > 1 else {}
        for object_id, answer in filled.items():
            runs[frame, object_id] = settled.get(object_id, answer.runs)
    stack = scene.stack
    names = {object_id: track.name for object_id, track in tracks.items()}
    return Masks(stack.shape_zyx, runs, names, scores, stack.geometry, stack.times_s, dict(record), stack.axis)


def _highest(scene: Scene, answers: Mapping[int, Answer]) -> dict[int, Runs]:
    """Masks after each shared pixel went to the object with the highest logit there (the lower id where they tie)."""
    size_hw = scene.stack.size_hw
    masks = np.stack([decode_runs(answer.runs, size_hw) for answer in answers.values()])
    shared = masks.sum(axis=0, dtype=np.uint16) > 1
    if not shared.any():
        return {}
    logits = np.stack([scene.logits(answer)[shared] for answer in answers.values()])
    inside = masks[:, shared]
    winner = np.where(inside, logits, -np.inf).argmax(axis=0)
    masks[:, shared] = inside & (np.arange(len(masks))[:, None] == winner)
    return {object_id: encode_runs(mask) for object_id, mask in zip(answers, masks, strict=True)}
