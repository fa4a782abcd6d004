"""Carry objects from frame to frame: one step for many objects, by memory or by handing the mask on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from segscope.masks import FrameMask
from segscope.models.engine import NO_HINT, Decoded, Hint, Memory
from segscope.models.sam2 import pick, stack_decoded
from segscope.predict.prompted import CLAMP, gate_absent
from segscope.predict.scene import ABSENT, Scene
from segscope.predict.track import Track
from segscope.prompts import Box

MARGIN = 0.05  # by which the box of a mask is widened when it is handed on, of its longer side


@torch.inference_mode()
def step(scene: Scene, frame: int, tracks: Mapping[int, Track], reverse: bool) -> dict[int, FrameMask]:
    """Answers for objects on a frame that none of them is prompted on; kept in their tracks.

    The frame is encoded once; objects go through memory attention and decoder as a batch.
    """
    if not tracks:
        return {}
    found: dict[int, FrameMask] = {}
    memories: Sequence[Memory | None]
    if scene.engine.slots:
        decoded = gate_absent(_recall(scene, frame, tracks, reverse))
        memories = scene.engine.remember(scene.encode(frame), decoded, prompted=[False] * len(tracks))
    else:
        neighbour = frame + (1 if reverse else -1)
        lost = {i for i, track in tracks.items() if neighbour not in track.answers or not track.answers[neighbour].area}
        found = {i: empty_answer(scene, frame, i, tracks[i], reverse, "") for i in lost}
        tracks = {i: track for i, track in tracks.items() if i not in lost}
        if not tracks:
            return found
        decoded = _hand_on(scene, frame, tracks, neighbour)
        memories = [None] * len(tracks)
    for row, (object_id, track) in enumerate(tracks.items()):
        presence = None if decoded.object_score is None else float(decoded.object_score[row])
        score = float(decoded.iou[row, 0])
        answer, full = scene.answer(
            decoded.logits[row, 0],
            scene.view,
            score=score,
            object_score=presence,
            memory=memories[row],
        )
        track.answers[frame] = answer
        track.passed[frame] = reverse
        found[object_id] = scene.frame_mask(frame, object_id, answer, full)
    return found


def _recall(scene: Scene, frame: int, tracks: Mapping[int, Track], reverse: bool) -> Decoded:
    """SAM 2's way: attend to what is remembered, decode without prompts, take the best candidate."""
    features = scene.encode(frame)
    banks = [scene.bank(track, frame, reverse, track.anchors) for track in tracks.values()]
    conditioned = scene.engine.attend(features, banks)
    multimask = scene.engine.multimask(0, tracking=True)
    decoded = scene.engine.decode(features, [NO_HINT] * len(banks), multimask=multimask, conditioned=conditioned)
    best = decoded.iou.argmax(dim=1).tolist()
    return stack_decoded([pick(decoded, row, mask) for row, mask in enumerate(best)])


def _hand_on(scene: Scene, frame: int, tracks: Mapping[int, Track], neighbour: int) -> Decoded:
    """For families without memory: box and logits of the neighbouring frame become the prompts."""
    hints = []
    for track in tracks.values():
        before = track.answers[neighbour]
        logits = scene.spool.get(before.logits, scene.engine.device).clamp(-CLAMP, CLAMP)
        hints.append(replace(handed_on(scene.mask(before)), previous=logits))
    return scene.engine.decode(scene.encode(frame), hints, multimask=False)


def handed_on(mask: NDArray[np.bool_]) -> Hint:
    """The box of a mask (row, column), a little widened and kept on the frame."""
    x0, y0, x1, y1 = Box.around(mask).xyxy
    margin = max(MARGIN * max(x1 - x0, y1 - y0), 1.0)
    height, width = mask.shape
    box = (max(x0 - margin, 0.0), max(y0 - margin, 0.0), min(x1 + margin, width), min(y1 + margin, height))
    return replace(NO_HINT, box=box)


def empty_answer(scene: Scene, frame: int, object_id: int, track: Track, reverse: bool, note: str) -> FrameMask:
    """An object that tracking has stopped for: an empty mask with the reason."""
    nothing = torch.full((1, 1), ABSENT)
    answer, full = scene.answer(nothing, scene.view, score=0.0, object_score=ABSENT, note=note)
    track.answers[frame] = answer
    track.passed[frame] = reverse
    return scene.frame_mask(frame, object_id, answer, full)
