"""Where to look next: masks that a network made and nobody has seen, the most doubtful first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from segscope.masks import decode_runs
from segscope.predict.object_state import FrameResult, ObjectState
from segscope.prompts import MaskPrompt

JUMP = 3.0  # a change of area by this factor from one frame to the next is as doubtful as can be


def queue(
    tracks: Mapping[int, ObjectState], size_hw: tuple[int, int], count: int
) -> list[dict[str, Any]]:
    """Frames of objects in the order in which a person should look at them.

    Args:
        tracks: of a session.
        size_hw: of its frames.
        count: how many at most.

    Returns:
        rows with frame, object_id, doubt (0 to 1) and why; what a person accepted or prompted is
        left out.
    """
    rows: list[tuple[float, int, int, str]] = []
    for object_id, track in tracks.items():
        if track.locked:
            continue
        for frame, answer in track.answers.items():
            if seen(track, frame):
                continue
            doubts = _doubts(track, frame, answer, size_hw)
            why, doubt = max(doubts.items(), key=lambda item: item[1])
            rows.append((-doubt, object_id, frame, why))
    return [
        {"frame": frame, "object_id": object_id, "doubt": round(-less, 4), "why": why}
        for less, object_id, frame, why in sorted(rows)[:count]
    ]


def progress(tracks: Mapping[int, ObjectState]) -> tuple[int, int]:
    """How many masks a person has made or accepted, and how many there are."""
    total = sum(len(track.answers) for track in tracks.values())
    done = sum(
        track.locked or seen(track, frame) for track in tracks.values() for frame in track.answers
    )
    return done, total


def seen(track: ObjectState, frame: int) -> bool:
    """Whether a person accepted the mask, or had a hand in it; masks that a network found come as
    prompts too.
    """
    prompts = track.prompts.get(frame, ())
    return frame in track.accepted or any(
        not isinstance(item, MaskPrompt) or item.score == 1 for item in prompts
    )


def _doubts(
    track: ObjectState, frame: int, answer: FrameResult, size_hw: tuple[int, int]
) -> dict[str, float]:
    doubts = {"low predicted IoU": 1.0 - min(max(answer.score, 0.0), 1.0) if answer.area else 0.0}
    if answer.object_score is not None:
        # a logit near 0 means that the network cannot say whether the object is there
        doubts["unsure whether it is there"] = 1.0 / (1.0 + abs(answer.object_score))
    neighbours = [track.answers[at] for at in (frame - 1, frame + 1) if at in track.answers]
    if neighbours and (answer.area or any(item.area for item in neighbours)):
        doubts["differs from its neighbours"] = 1.0 - max(
            _iou(answer, item, size_hw) for item in neighbours
        )
        ratios = [
            _ratio(answer.area, item.area) for item in neighbours if item.area and answer.area
        ]
        if ratios:
            doubts["area jumps"] = min(1.0, max(0.0, (min(ratios) - 1.0) / (JUMP - 1.0)))
    return doubts


def _ratio(one: int, other: int) -> float:
    return max(one, other) / min(one, other)


def _iou(one: FrameResult, other: FrameResult, size_hw: tuple[int, int]) -> float:
    if not one.area or not other.area:
        return float(one.area == other.area)
    a = decode_runs(one.runs, size_hw)
    b = decode_runs(other.runs, size_hw)
    both = int(np.count_nonzero(a & b))
    return both / (one.area + other.area - both)
