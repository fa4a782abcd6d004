"""Answer on a frame that somebody prompted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segscope.inference.crop import Crop
from segscope.masks import FrameMask
from segscope.models.engine import Decoded, DecoderPrompt
from segscope.models.sam2 import pick
from segscope.predict.hints import Request, mask_logits, request
from segscope.predict.object_state import Candidate, FrameResult, ObjectState
from segscope.predict.state import ABSENT, GIVEN, InferenceState
from segscope.prompts import Box, MaskPrompt, Prompt

CLAMP = 32.0  # SAM 2 feeds earlier logits back within these bounds
CLICK_WINDOWS = (
    1.0,
    0.5,
    0.25,
    0.125,
)  # shares of the frame's sides, tried for clicks when nothing else is known
COMPARED = (
    512  # longer side, in pixels, of the grid on which masks of different windows are compared
)
ZOOM = 1.8  # window around a mask, in its longer side
ZOOM_BOX = 1.45  # window around a box alone; 1.3 to 1.8 measured alike on validation images


@torch.inference_mode()
def answer_prompts(
    scene: InferenceState, track: ObjectState, object_id: int, frame: int, new: Sequence[Prompt]
) -> FrameMask:
    """Answer new prompts of one object on one frame, and make the frame an anchor of its track.

    Args:
        new: prompts just made; those made before on this frame still count, and so does the answer
            so far. A frame that tracking has passed is decoded from what memory makes of it, a
            fresh one from the image alone.
    """
    before = track.answers.get(frame)
    prompts = (*track.prompts.get(frame, ()), *new)
    asked = request(prompts)
    if before is not None and not any(isinstance(prompt, MaskPrompt) for prompt in new):
        asked = replace(
            asked, start=None
        )  # goes on from the latest answer, not from a mask given before it
    if asked.given is not None:
        result = _take(scene, frame, object_id, asked.given, asked.score)
    elif scene.engine.card.zoom:
        result = _zoomed(scene, frame, object_id, asked, before)
    else:
        result = _plain(scene, track, frame, object_id, asked, before)
    answer, frame_mask = result
    track.prompts[frame] = prompts
    if before is not None:
        track.replaced.setdefault(frame, before)
    track.answers[frame] = answer
    track.anchors = track.anchors | {frame}
    return frame_mask


def _take(
    scene: InferenceState, frame: int, object_id: int, mask: NDArray[np.bool_], score: float
) -> tuple[FrameResult, FrameMask]:
    """A mask as given: it is the answer, and what tracking remembers."""
    memory = None
    if mask.any():
        presence = GIVEN
    else:
        presence = -GIVEN
    if scene.remembers and not scene.engine.card.zoom:
        decoded, (memory,) = scene.remember_masks(frame, [mask])
        low = decoded.logits[0, 0]
        view = scene.view
    else:
        low = mask_logits(mask)
        view = Crop.whole(scene.stack.size_hw)
        longest = max(mask.shape)
        if longest > 1024:  # kept only to be refined later
            size = [max(1, round(side * 1024 / longest)) for side in mask.shape]
            low = torch.nn.functional.interpolate(low[None, None], size, mode="area")[0, 0]
    answer, _ = scene.answer(
        low, view, score=score, object_score=presence, memory=memory, given=mask
    )
    exact = np.where(mask, np.float32(GIVEN), np.float32(-GIVEN))
    return answer, scene.frame_mask(frame, object_id, answer, exact)


def _plain(
    scene: InferenceState,
    track: ObjectState,
    frame: int,
    object_id: int,
    asked: Request,
    before: FrameResult | None,
) -> tuple[FrameResult, FrameMask]:
    """The families' own way: the whole frame, earlier logits fed back."""
    features = scene.encode(frame)
    previous = asked.start
    if previous is None and before is not None:
        previous = kept_logits(scene, before)
    if previous is not None:
        previous = previous.to(scene.engine.device).clamp(-CLAMP, CLAMP)
    conditioned = None
    passed = track.passed.get(frame)
    if passed is not None and scene.remembers and track.settled:
        conditioned = scene.engine.attend(
            features, [scene.bank(track, frame, passed, track.settled)]
        )
    hint = replace(asked.hint, previous=previous)
    multimask = scene.engine.multimask(hint.clicks, tracking=False)
    decoded = scene.engine.decode(features, [hint], multimask=multimask, conditioned=conditioned)
    order = decoded.iou[0].argsort(descending=True).tolist()
    best = pick(decoded, 0, order[0])
    memory = None
    if scene.remembers:
        best = gate_absent(best)
        (memory,) = scene.engine.remember(features, best, prompted=[True])
    presence = None
    if best.object_score is not None:
        presence = float(best.object_score[0])
    answer, full = scene.answer(
        best.logits[0, 0],
        scene.view,
        score=float(best.iou[0, 0]),
        object_score=presence,
        memory=memory,
    )
    candidates = tuple(
        (scene.on_frame(decoded.logits[0, i], scene.view), float(decoded.iou[0, i]))
        for i in order[1:]
    )
    answer = _with_choice(
        scene,
        answer,
        [(decoded.logits[0, i], scene.view, float(decoded.iou[0, i])) for i in order[1:]],
    )
    return answer, scene.frame_mask(frame, object_id, answer, full, candidates)


def _with_choice(
    scene: InferenceState, answer: FrameResult, others: Sequence[tuple[Tensor, Crop, float]]
) -> FrameResult:
    """An answer that keeps the other masks found, so that one of them can be chosen later."""
    if not others:
        return answer
    assert answer.logits is not None
    kept = [Candidate(scene.spool.put(low.float()), view, score) for low, view, score in others]
    return replace(answer, candidates=(Candidate(answer.logits, answer.view, answer.score), *kept))


def kept_logits(scene: InferenceState, answer: FrameResult) -> Tensor:
    """Logits (row, column) of an answer in its view."""
    if answer.logits is None:
        return torch.from_numpy(scene.logits(answer)).to(scene.engine.device)
    return scene.spool.get(answer.logits, scene.engine.device)


def gate_absent(decoded: Decoded) -> Decoded:
    """Empty masks for objects that the network says are not there."""
    if decoded.object_score is None:
        return decoded
    here = (decoded.object_score > 0)[:, None, None, None]
    return replace(decoded, logits=torch.where(here, decoded.logits, ABSENT))


# --- zoom: a window around what is asked for -----------------------------------------------------


def _zoomed(
    scene: InferenceState, frame: int, object_id: int, asked: Request, before: FrameResult | None
) -> tuple[FrameResult, FrameMask]:
    """Look through a window around the prompts or the mask so far, chosen anew each time."""
    start = asked.start
    if start is None and before is not None:
        start = torch.from_numpy(scene.logits(before))
    note = ""
    box = asked.hint.box
    if box is not None and not len(asked.hint.points) and start is None:
        view = Crop.around(box, scene.stack.size_hw, factor=ZOOM_BOX)
        ranked = _both_ways(scene, frame, view, asked.hint)
        if ranked[0].score < getattr(scene.engine, "gate_iou", 0.0):
            ranked[0] = ranked[0]._replace(low=_ellipse(view, box, ranked[0].low))
            note = "gate: the network was unsure; the ellipse of the box"
    else:
        tries = [
            _look(scene, frame, view, asked.hint, start)
            for view in _views(scene, asked.hint, start)
        ]
        ranked = _ranked([one for found in tries for one in found], scene.stack.size_hw)
    low, view, score, presence = ranked[0]
    # what tracking remembers of it is made when tracking begins, in the view that is chosen then
    answer, full = scene.answer(low, view, score=score, object_score=presence, note=note)
    candidates = tuple((scene.on_frame(item.low, item.view), item.score) for item in ranked[1:4])
    answer = _with_choice(
        scene, answer, [(item.low, item.view, item.score) for item in ranked[1:4]]
    )
    return answer, scene.frame_mask(frame, object_id, answer, full, candidates)


class _Candidate(NamedTuple):
    """One mask that was found: logits (row, column) of a view, predicted IoU, and logit of
    presence.
    """

    low: Tensor
    view: Crop
    score: float
    presence: float | None


def _look(
    scene: InferenceState, frame: int, view: Crop, hint: DecoderPrompt, start: Tensor | None
) -> list[_Candidate]:
    previous = None
    if start is not None:
        previous = torch.from_numpy(np.ascontiguousarray(view.cut(start.cpu().numpy())))
        previous = previous.to(scene.engine.device).clamp(-CLAMP, CLAMP)
    features = scene.features.get(frame, view)
    multimask = scene.engine.multimask(hint.clicks, tracking=False) and previous is None
    found = scene.engine.decode(
        features, [replace(view.shift(hint), previous=previous)], multimask=multimask
    )
    presence = None
    if found.object_score is not None:
        presence = float(found.object_score[0])
    return [
        _Candidate(low, view, score, presence)
        for low, score in zip(found.logits[0], found.iou[0].tolist(), strict=True)
    ]


def _both_ways(
    scene: InferenceState, frame: int, view: Crop, hint: DecoderPrompt
) -> list[_Candidate]:
    """Masks of a box alone, best first: the mean of what the network answers as it is and, if told
    to, mirrored.
    """
    found = _look(scene, frame, view, hint, None)
    if getattr(scene.engine, "mirrors", False):
        other = _look(scene, frame, replace(view, mirrored=True), hint, None)
        found = [
            one._replace(low=(one.low + two.low.flip(-1)) / 2, score=(one.score + two.score) / 2)
            for one, two in zip(found, other, strict=True)
        ]
    return sorted(found, key=lambda item: item.score, reverse=True)


def _ranked(found: list[_Candidate], size_hw: tuple[int, int]) -> list[_Candidate]:
    """Best first: by predicted IoU within one window; among several by the overlap that can be
    expected.

    Windows answer a lone click with masks of different extent, and predicted IoU alone compares
    them badly. The expected IoU of a mask is its mean IoU with all masks found, each as likely as
    the fourth power of its predicted IoU says (minimum Bayes risk). Being cut by its window speaks
    against a mask. Both numbers were chosen on the validation images of mini's recipe.
    """
    if len({item.view for item in found}) == 1:
        return sorted(found, key=lambda item: item.score, reverse=True)
    shrink = min(1.0, COMPARED / max(size_hw))
    rows, columns = (max(1, round(side * shrink)) for side in size_hw)
    masks = torch.zeros(len(found), rows, columns)
    for mask, item in zip(masks, found, strict=True):
        x0, x1 = (round(x * columns / size_hw[1]) for x in (item.view.x0, item.view.x1))
        y0, y1 = (round(y * rows / size_hw[0]) for y in (item.view.y0, item.view.y1))
        shape = (max(1, y1 - y0), max(1, x1 - x0))
        part = (
            torch.nn.functional.interpolate(
                item.low[None, None].float().cpu(), shape, mode="bilinear"
            )[0, 0]
            > 0
        )
        mask[y0 : y0 + shape[0], x0 : x0 + shape[1]] = part[: rows - y0, : columns - x0]
    flat = masks.flatten(1)
    both = flat @ flat.T
    area = flat.sum(1)
    overlap = both / (area[:, None] + area - both).clamp(min=1)
    own = torch.tensor([max(item.score, 1e-3) for item in found])
    worth = overlap @ (own**4 / (own**4).sum()) - 0.6 * torch.tensor([_cut(item) for item in found])
    return [found[i] for i in worth.argsort(descending=True, stable=True).tolist()]


def _cut(item: _Candidate) -> float:
    """Share of the window's border inside the frame that the mask runs over."""
    mask = item.low > 0
    view = item.view
    height, width = view.frame_hw
    sides = (
        (view.x0 > 0, mask[:, 0]),
        (view.y0 > 0, mask[0]),
        (view.x1 < width, mask[:, -1]),
        (view.y1 < height, mask[-1]),
    )
    inner = [line for inside, line in sides if inside]
    if inner:
        return float(torch.cat(inner).float().mean())
    return 0.0


def _views(scene: InferenceState, hint: DecoderPrompt, start: Tensor | None) -> list[Crop]:
    """Windows to try: one where the object's place is known, several sizes where only clicks are."""
    size_hw = scene.stack.size_hw
    known: list[tuple[float, float, float, float]] = []
    if start is not None and bool((start > 0).any()):
        known.append(Box.around((start > 0).cpu().numpy()).xyxy)
    if hint.box is not None:
        known.append(hint.box)
    points = [(x, y, x, y) for x, y in hint.points.tolist()]
    if known:
        return [Crop.around(_union(known + points), size_hw, factor=ZOOM)]
    if not points:
        return [Crop.whole(size_hw)]
    spread = _union(points)
    views: list[Crop] = []
    for share in CLICK_WINDOWS:
        view = Crop.share(spread, size_hw, share)
        if view not in views and view.holds(spread):
            views.append(view)
    return views


def _union(boxes: Sequence[tuple[float, float, float, float]]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _ellipse(view: Crop, box: tuple[float, float, float, float], like: Tensor) -> Tensor:
    """Logits of the ellipse inscribed in a box, on the grid of `like` (row, column) over the view."""
    x0, y0, x1, y1 = box
    rows, columns = like.shape
    height, width = view.size_hw
    x = view.x0 + (torch.arange(columns, device=like.device) + 0.5) * width / columns
    y = view.y0 + (torch.arange(rows, device=like.device) + 0.5) * height / rows
    dx = (x - (x0 + x1) / 2) / ((x1 - x0) / 2)
    dy = (y - (y0 + y1) / 2) / ((y1 - y0) / 2)
    radius = torch.sqrt(dx[None, :] ** 2 + dy[:, None] ** 2)
    return ((1 - radius) * 20).clamp(-4.0, 4.0)
