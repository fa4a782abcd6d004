"""Framing: what tracking looks at where engines zoom: a window for objects that lie together,
widened as they move.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from segscope.inference.crop import Crop
from segscope.predict.object_state import ObjectState
from segscope.predict.state import InferenceState
from segscope.prompts import Box

ROOM = 3.0  # side of the window in sides of what it must hold: objects grow and move
WHOLE = 0.75  # a window longer than this share of the frame is not worth cutting
SPARE = 1.6  # objects share a window that is at most so many times as long as what each of them needs alone
MOST = 4  # windows; each costs an encoding of every frame
EDGE = 0.03  # an object this near to the edge of the window, in sides of it, has reached it


def groups(
    scene: InferenceState, tracks: Mapping[int, ObjectState]
) -> list[tuple[InferenceState, dict[int, ObjectState]]]:
    """Before tracking: objects that share a window, each group with the scene seen through its own.

    The memories of all anchors are made in it. Engines that do not zoom have one group and look at
    the whole frame.
    """
    if not scene.engine.card.zoom:
        settle(scene, tracks)
        return [(scene, dict(tracks))]
    made = []
    for together in _together(scene, tracks):
        own = {object_id: tracks[object_id] for object_id in together}
        masks = [scene.mask(track.answers[at]) for track in own.values() for at in track.anchors]
        seen = [track.answers[at].memory for track in own.values() for at in track.anchors]
        before = next((memory.view for memory in seen if memory is not None), None)
        part = replace(scene, view=_window(scene, masks, before))
        settle(part, own)
        made.append((part, own))
    return made


def _together(scene: InferenceState, tracks: Mapping[int, ObjectState]) -> list[list[int]]:
    """Object ids by window: the pair that wastes least is joined until a join would waste too much."""
    boxes: dict[tuple[int, ...], NDArray[np.float64]] = {}
    for object_id, track in tracks.items():
        masks = [scene.mask(track.answers[at]) for at in track.anchors]
        found = np.array([Box.around(mask).xyxy for mask in masks if mask.any()])
        boxes[object_id,] = _union(found) if len(found) else np.full(4, np.nan)
    nowhere = [key for key, box in boxes.items() if np.isnan(box).any()]
    for key in nowhere:
        boxes.pop(key)

    def length(box: NDArray[np.float64]) -> float:
        view = Crop.around(
            box.tolist(), scene.stack.size_hw, factor=ROOM, least=scene.engine.input_size // 4
        )
        return float(max(view.size_hw))

    need = {key: length(box) for key, box in boxes.items()}  # of the smallest member
    while len(boxes) > 1:
        waste, one, two = min(
            (
                length(_union(np.array([boxes[one], boxes[two]]))) / min(need[one], need[two]),
                one,
                two,
            )
            for one, two in itertools.combinations(boxes, 2)
        )
        if waste > SPARE and len(boxes) <= MOST:
            break
        boxes[one + two] = _union(np.array([boxes.pop(one), boxes.pop(two)]))
        need[one + two] = min(need.pop(one), need.pop(two))
    made = [list(key) for key in boxes] or [[]]
    made[0] += [object_id for key in nowhere for object_id in key]
    return made


def _union(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def widen(
    scene: InferenceState, tracks: Mapping[int, ObjectState], frame: int, reverse: bool
) -> None:
    """After a step: if an object reached the edge, look at more, and remember the last frames anew."""
    if scene.view.is_whole:
        return
    masks = [
        scene.mask(track.answers[frame]) for track in tracks.values() if frame in track.answers
    ]
    margin = EDGE * max(scene.view.size_hw)
    if all(_holds(scene.view, mask, margin) for mask in masks):
        return
    everything = [
        *masks,
        *(scene.mask(track.answers[at]) for track in tracks.values() for at in track.anchors),
    ]
    scene.view = _window(scene, everything, None)
    settle(scene, tracks)
    if reverse:
        back = range(frame, frame + scene.engine.memory_frames - 1)
    else:
        back = range(frame, frame - scene.engine.memory_frames + 1, -1)
    for track in tracks.values():
        _remember(scene, track, [at for at in back if track.tracked(at) is not None])


def settle(scene: InferenceState, tracks: Mapping[int, ObjectState]) -> None:
    """Make the memories that anchors still lack in the tracking view."""
    for track in tracks.values():
        track.settle()
        if scene.remembers:
            _remember(scene, track, track.anchors)


@torch.inference_mode()
def _remember(scene: InferenceState, track: ObjectState, frames: Iterable[int]) -> None:
    for at in frames:
        answer = track.answers[at]
        if answer.memory is None or answer.memory.view != scene.view:
            _, (memory,) = scene.remember_masks(at, [scene.mask(answer)])
            track.answers[at] = replace(answer, memory=scene.keep(memory))


def _window(scene: InferenceState, masks: Iterable[NDArray[np.bool_]], now: Crop | None) -> Crop:
    boxes = np.array([Box.around(mask).xyxy for mask in masks if mask.any()])
    frame_hw = scene.stack.size_hw
    if not len(boxes):
        return Crop.whole(frame_hw)
    union = _union(boxes).tolist()
    view = Crop.around(union, frame_hw, factor=ROOM, least=scene.engine.input_size // 4)
    if max(view.size_hw) > WHOLE * max(frame_hw):
        return Crop.whole(frame_hw)
    # a window chosen before is kept while it serves: what is encoded and remembered in it stays
    # good
    if (
        now is not None
        and not now.is_whole
        and now.holds(union)
        and max(now.size_hw) < 2 * max(view.size_hw)
    ):
        return now
    return view


def _holds(view: Crop, mask: NDArray[np.bool_], margin: float) -> bool:
    if not mask.any():
        return True
    x0, y0, x1, y1 = Box.around(mask).xyxy
    return view.holds((x0 - margin, y0 - margin, x1 + margin, y1 + margin))
