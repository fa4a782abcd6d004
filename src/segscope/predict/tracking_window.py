"""Tracking windows: engines with a window rule track objects that lie together through one window,
which widens as they move.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from segscope.inference.crop import Crop, Xyxy, union
from segscope.models.engine import WindowRule
from segscope.predict.state import InferenceState, ObjectState
from segscope.prompts import Box

SPARE = 1.6  # a shared window is at most so many times as long as what each object needs alone
MOST_WINDOWS = 4  # each costs an encoding of every frame
EDGE = 0.03  # an object this near to the edge of the window, in sides of it, has reached it

Group = tuple[int, ...]
"""Ids of objects that share a window."""


def groups(
    state: InferenceState, tracks: Mapping[int, ObjectState]
) -> list[tuple[InferenceState, dict[int, ObjectState]]]:
    """Before tracking: objects that share a window, each group with the state seen through its own.

    The memories of all anchors are made in it. Engines without a window rule have one group and
    look at the whole frame.
    """
    rule = state.engine.window_rule
    if rule is None:
        freeze_anchors(state, tracks)
        return [(state, dict(tracks))]
    grouped = []
    for members in _share_windows(state, rule, tracks):
        group = {object_id: tracks[object_id] for object_id in members}
        masks = _anchor_masks(state, group.values())
        window = _window(state, rule, masks, _latest_view(group))
        part = replace(state, view=window)
        freeze_anchors(part, group)
        grouped.append((part, group))
    return grouped


def _anchor_masks(state: InferenceState, tracks: Iterable[ObjectState]) -> list[NDArray[np.bool_]]:
    return [state.mask(track.answers[at]) for track in tracks for at in track.anchors]


def _latest_view(group: Mapping[int, ObjectState]) -> Crop | None:
    """The view of a memory that an anchor has already."""
    for track in group.values():
        for at in track.anchors:
            memory = track.answers[at].memory
            if memory is not None:
                return memory.view
    return None


def _share_windows(
    state: InferenceState, rule: WindowRule, tracks: Mapping[int, ObjectState]
) -> list[list[int]]:
    """Object ids by window: pairs that waste least are joined, until a join wastes too much."""
    boxes: dict[Group, Xyxy] = {}
    without_box: list[int] = []
    for object_id, track in tracks.items():
        box = _box_around(_anchor_masks(state, [track]))
        if box is None:
            without_box.append(object_id)
        else:
            boxes[object_id,] = box
    needed = {group: _length(state, rule, box) for group, box in boxes.items()}
    while len(boxes) > 1:
        waste, one, other = min(
            (_length(state, rule, union([boxes[a], boxes[b]])) / min(needed[a], needed[b]), a, b)
            for a, b in itertools.combinations(boxes, 2)
        )
        if waste > SPARE and len(boxes) <= MOST_WINDOWS:
            break
        boxes[one + other] = union([boxes.pop(one), boxes.pop(other)])
        # what the smallest member needs
        needed[one + other] = min(needed.pop(one), needed.pop(other))
    windows = list(map(list, boxes)) or [[]]
    windows[0] += without_box
    return windows


def _length(state: InferenceState, rule: WindowRule, box: Xyxy) -> float:
    """Longer side of the window that a box needs."""
    return float(max(_window_around(state, rule, box).size_hw))


def _window_around(state: InferenceState, rule: WindowRule, box: Xyxy) -> Crop:
    least = state.engine.input_size // 4
    return Crop.around(box, state.stack.size_hw, factor=rule.tracking, least=least)


def widen(
    state: InferenceState, tracks: Mapping[int, ObjectState], frame: int, reverse: bool
) -> None:
    """After a step: if an object reached the edge, show more, and make the memories of the last
    frames again in the wider window.
    """
    rule = state.engine.window_rule
    if rule is None or state.view.is_whole:
        return
    masks = [
        state.mask(track.answers[frame]) for track in tracks.values() if frame in track.answers
    ]
    margin = EDGE * max(state.view.size_hw)
    if all(_holds(state.view, mask, margin) for mask in masks):
        return
    masks += _anchor_masks(state, tracks.values())
    state.view = _window(state, rule, masks, None)
    freeze_anchors(state, tracks)
    places = state.engine.memory_frames - 1
    passed = range(frame, frame - places, -1)
    if reverse:
        passed = range(frame, frame + places)
    for track in tracks.values():
        _remember(state, track, [at for at in passed if track.tracked(at) is not None])


def freeze_anchors(state: InferenceState, tracks: Mapping[int, ObjectState]) -> None:
    """Make the memories that anchors still lack in the tracking view."""
    for track in tracks.values():
        track.freeze_anchors()
        if state.remembers:
            _remember(state, track, track.anchors)


@torch.inference_mode()
def _remember(state: InferenceState, track: ObjectState, frames: Iterable[int]) -> None:
    for at in frames:
        answer = track.answers[at]
        if answer.memory is None or answer.memory.view != state.view:
            _, (memory,) = state.remember_masks(at, [state.mask(answer)])
            track.answers[at] = replace(answer, memory=state.keep(memory))


def _window(
    state: InferenceState,
    rule: WindowRule,
    masks: Sequence[NDArray[np.bool_]],
    current: Crop | None,
) -> Crop:
    """The window for masks; a current one stays while it serves, since what was encoded and
    remembered in it stays valid.
    """
    frame_hw = state.stack.size_hw
    box = _box_around(masks)
    if box is None:
        return Crop.whole(frame_hw)
    window = _window_around(state, rule, box)
    if max(window.size_hw) > rule.whole_frame * max(frame_hw):
        return Crop.whole(frame_hw)
    if current is None or current.is_whole or not current.holds(box):
        return window
    if max(current.size_hw) >= 2 * max(window.size_hw):
        return window
    return current


def _box_around(masks: Iterable[NDArray[np.bool_]]) -> Xyxy | None:
    """The box around all masks; None where all are empty."""
    boxes = [Box.around(mask).xyxy for mask in masks if mask.any()]
    if not boxes:
        return None
    return union(boxes)


def _holds(view: Crop, mask: NDArray[np.bool_], margin: float) -> bool:
    if not mask.any():
        return True
    x0, y0, x1, y1 = Box.around(mask).xyxy
    return view.holds((x0 - margin, y0 - margin, x1 + margin, y1 + margin))
