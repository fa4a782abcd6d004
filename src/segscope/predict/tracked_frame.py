"""Carry objects from frame to frame: one step for many objects, by memory or by handing the mask
on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from segscope.inference.crop import Crop
from segscope.masks import FrameMask
from segscope.models.engine import NO_HINT, Decoded, DecoderPrompt, Memory
from segscope.models.sam2 import pick, stack_decoded
from segscope.predict.object_state import FrameResult, ObjectState
from segscope.predict.prompted_frame import CLAMP, ZOOM, gate_absent, kept_logits
from segscope.predict.state import ABSENT, InferenceState
from segscope.prompts import Box

MARGIN = 0.05  # by which the box of a mask is widened when it is handed on, of its longer side


@torch.inference_mode()
def step(
    scene: InferenceState, frame: int, tracks: Mapping[int, ObjectState], reverse: bool
) -> dict[int, FrameMask]:
    """Answers for objects on a frame that none of them is prompted on; kept in their tracks.

    The frame is encoded once; objects go through memory attention and decoder as a batch.
    """
    if not tracks:
        return {}
    if scene.engine.memory_frames:
        decoded = gate_absent(_recall(scene, frame, tracks, reverse))
        memories = scene.engine.remember(
            scene.encode(frame), decoded, prompted=[False] * len(tracks)
        )
        return {
            object_id: _keep(
                scene,
                frame,
                object_id,
                track,
                reverse,
                pick(decoded, row),
                scene.view,
                memories[row],
            )
            for row, (object_id, track) in enumerate(tracks.items())
        }
    found = {}
    for object_id, track in tracks.items():
        before = track.answers.get(frame + (1 if reverse else -1))
        if before is None or before.area == 0:
            found[object_id] = empty_answer(scene, frame, object_id, track, reverse, "")
        else:
            decoded, view = _hand_on(scene, frame, before)
            found[object_id] = _keep(scene, frame, object_id, track, reverse, decoded, view)
    return found


def _keep(
    scene: InferenceState,
    frame: int,
    object_id: int,
    track: ObjectState,
    reverse: bool,
    decoded: Decoded,
    view: Crop,
    memory: Memory | None = None,
) -> FrameMask:
    """Make the answer of one object (`decoded`, M = 1) part of its track."""
    presence = None
    if decoded.object_score is not None:
        presence = float(decoded.object_score[0])
    answer, full = scene.answer(
        decoded.logits[0, 0],
        view,
        score=float(decoded.iou[0, 0]),
        object_score=presence,
        memory=memory,
    )
    track.answers[frame] = answer
    track.passed[frame] = reverse
    return scene.frame_mask(frame, object_id, answer, full)


def _recall(
    scene: InferenceState, frame: int, tracks: Mapping[int, ObjectState], reverse: bool
) -> Decoded:
    """SAM 2's way: attend to what is remembered, decode without prompts, take the best candidate."""
    features = scene.encode(frame)
    banks = [scene.bank(track, frame, reverse, track.anchors) for track in tracks.values()]
    conditioned = scene.engine.attend(features, banks)
    multimask = scene.engine.multimask(0, tracking=True)
    hints = [NO_HINT] * len(banks)
    if scene.engine.uses_previous_logits:
        before = frame + (1 if reverse else -1)
        hints = [
            replace(NO_HINT, last=_last(scene, track.answers.get(before)))
            for track in tracks.values()
        ]
    decoded = scene.engine.decode(features, hints, multimask=multimask, conditioned=conditioned)
    best = decoded.iou.argmax(dim=1).tolist()
    return stack_decoded([pick(decoded, row, mask) for row, mask in enumerate(best)])


def _last(scene: InferenceState, answer: FrameResult | None) -> torch.Tensor:
    """Logits (row, column) of the neighbouring frame in the tracking view; absent everywhere if it
    has no answer.
    """
    if answer is None:
        return torch.full((1, 1), ABSENT, device=scene.engine.device)
    return _seen_in(scene, answer, scene.view)


def _seen_in(scene: InferenceState, answer: FrameResult, view: Crop) -> torch.Tensor:
    """Logits (row, column) of an answer in a view."""
    if view == answer.view:
        return kept_logits(scene, answer)
    cut = np.ascontiguousarray(view.cut(scene.logits(answer)))
    return torch.from_numpy(cut).to(scene.engine.device)


def _hand_on(scene: InferenceState, frame: int, before: FrameResult) -> tuple[Decoded, Crop]:
    """Without memory: box and logits of the neighbouring frame become the prompts, in a window
    where engines zoom.
    """
    hint = handed_on(scene.mask(before))
    view = scene.view
    if scene.engine.card.zoom and hint.box is not None:
        view = Crop.around(hint.box, scene.stack.size_hw, factor=ZOOM)
    hint = replace(view.shift(hint), previous=_seen_in(scene, before, view).clamp(-CLAMP, CLAMP))
    return scene.engine.decode(scene.features.get(frame, view), [hint], multimask=False), view


def handed_on(mask: NDArray[np.bool_]) -> DecoderPrompt:
    """The box of a mask (row, column), a little widened and kept on the frame."""
    x0, y0, x1, y1 = Box.around(mask).xyxy
    margin = max(MARGIN * max(x1 - x0, y1 - y0), 1.0)
    height, width = mask.shape
    box = (
        max(x0 - margin, 0.0),
        max(y0 - margin, 0.0),
        min(x1 + margin, width),
        min(y1 + margin, height),
    )
    return replace(NO_HINT, box=box)


def empty_answer(
    scene: InferenceState, frame: int, object_id: int, track: ObjectState, reverse: bool, note: str
) -> FrameMask:
    """An object that tracking has stopped for: an empty mask with the reason."""
    nothing = torch.full((1, 1), ABSENT)
    answer, full = scene.answer(nothing, scene.view, score=0.0, object_score=ABSENT, note=note)
    track.answers[frame] = answer
    track.passed[frame] = reverse
    return scene.frame_mask(frame, object_id, answer, full)
