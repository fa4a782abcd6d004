"""The review queue: masks of a network that nobody has reviewed, the most doubtful first."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from segscope.masks import decode_runs
from segscope.predict.state import FrameResult, ObjectState
from segscope.prompts import is_by_person
from segscope.serve.answers import Doubt

JUMP = 3.0  # a change of area by this factor from one frame to the next is the largest doubt


def list_doubts(
    objects: Mapping[int, ObjectState], size_hw: tuple[int, int], count: int
) -> list[Doubt]:
    """Masks in the order in which a person should review them, `count` at most.

    Masks that a person accepted or prompted are left out, and so are locked objects.
    """
    rows: list[tuple[float, int, int, str]] = []
    for object_id, obj in objects.items():
        if obj.locked:
            continue
        for frame, result in obj.answers.items():
            if is_reviewed(obj, frame):
                continue
            reasons = _doubts(obj, frame, result, size_hw)
            why, doubt = max(reasons.items(), key=lambda item: item[1])
            rows.append((-doubt, object_id, frame, why))
    return [
        Doubt(frame=frame, object_id=object_id, doubt=round(-negative, 4), why=why)
        for negative, object_id, frame, why in sorted(rows)[:count]
    ]


def count_reviewed(objects: Mapping[int, ObjectState]) -> tuple[int, int]:
    """How many masks a person has drawn or accepted, and how many there are."""
    reviewed = 0
    total = 0
    for obj in objects.values():
        total += len(obj.answers)
        reviewed += sum(obj.locked or is_reviewed(obj, frame) for frame in obj.answers)
    return reviewed, total


def is_reviewed(obj: ObjectState, frame: int) -> bool:
    """Whether a person accepted the mask or prompted it."""
    if frame in obj.accepted:
        return True
    return any(map(is_by_person, obj.prompts.get(frame, ())))


def _doubts(
    obj: ObjectState, frame: int, result: FrameResult, size_hw: tuple[int, int]
) -> dict[str, float]:
    """Doubts about a mask, 0 to 1, by reason; a reason names the measure and its value."""
    score = min(max(result.score, 0.0), 1.0)
    doubt = 0.0
    if result.area:
        doubt = 1.0 - score
    doubts = {f"predicted IoU {score:.2f}": doubt}
    if result.object_score is not None:
        # a logit near 0 means that the network cannot say whether the object is there
        presence = 0.5 + 0.5 * math.tanh(result.object_score / 2)  # the sigmoid
        doubts[f"object presence {presence:.2f}"] = 1.0 / (1.0 + abs(result.object_score))
    neighbours = [obj.answers[at] for at in (frame - 1, frame + 1) if at in obj.answers]
    filled = [item for item in neighbours if item.area]
    if neighbours and (result.area or filled):
        best = max(_iou(result, item, size_hw) for item in neighbours)
        doubts[f"IoU with neighbours {best:.2f}"] = 1.0 - best
    if filled and result.area:
        ratio = min(_ratio(result.area, item.area) for item in filled)
        doubts[f"area changes {ratio:.1f}-fold"] = min(1.0, max(0.0, (ratio - 1.0) / (JUMP - 1.0)))
    return doubts


def _ratio(one: int, other: int) -> float:
    return max(one, other) / min(one, other)


def _iou(one: FrameResult, other: FrameResult, size_hw: tuple[int, int]) -> float:
    if not one.area or not other.area:
        return float(one.area == other.area)
    a = decode_runs(one.runs, size_hw)
    b = decode_runs(other.runs, size_hw)
    shared = int(np.count_nonzero(a & b))
    return shared / (one.area + other.area - shared)
