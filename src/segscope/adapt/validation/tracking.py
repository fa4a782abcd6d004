"""Validation of what is carried through stacks: Dice of the frames that nobody prompted, and of the
prompted one apart.

A loose box is given on the frame with most of an object, and carried both ways. Lighter than the
evaluator: no stop rules, one window for a stack, and only the frames near the prompted one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segscope.adapt import window
from segscope.adapt.data.training_set import Gathered, Scan
from segscope.adapt.losses.clip_memory import Recall, gated
from segscope.adapt.losses.interactive import best_of, hint_of
from segscope.adapt.method import Adapted
from segscope.adapt.validation.frames import PROMPT, validate
from segscope.metrics.overlap import dice
from segscope.models.engine import Decoded, Features
from segscope.prompts import Box

MOST = 12
"""Objects that a validation follows, evenly spaced in their order."""

REACH = 12
"""Frames on either side of the prompted one."""

ROOM, WHOLE = 3.0, 0.75  # of the tracking window, as prediction has it


@torch.no_grad()
def validate_clips(
    adapted: Adapted, cases: Gathered, most: int = MOST, reach: int = REACH
) -> dict[str, float]:
    """Mean Dice over objects, 0 to 1.

    Returns:
        "dice" of tracked frames and "prompted" of the prompted ones; where there are no stacks, the
        usual figures.
    """
    found = list(objects(cases))
    if not found:
        return validate(adapted, cases)
    if len(found) > most:
        found = [
            found[k] for k in np.linspace(0, len(found) - 1, most).round().astype(int).tolist()
        ]
    scores = np.array(
        [follow(adapted, cases.scans[case], plane, value, reach) for case, plane, value in found]
    )
    tracked, prompted = np.nanmean(scores, axis=0).tolist()
    return {"dice": float(tracked), "prompted": float(prompted)}


def objects(cases: Gathered) -> Iterator[tuple[int, int, int]]:
    """Case, plane and number of every object that is on several frames of a stack."""
    frames: dict[tuple[int, int, int], int] = {}
    for item in cases.items:
        for thing in item.things:
            key = (item.case, thing.plane, thing.value)
            frames[key] = frames.get(key, 0) + 1
    return (key for key, number in frames.items() if number > 1)


def follow(
    adapted: Adapted, scan: Scan, plane: int, value: int, reach: int = REACH
) -> tuple[float, float]:
    """Dice of one object: mean over tracked frames where it is or is claimed, and of the prompted
    frame.
    """
    truth = scan.planes[plane] == value
    at = int(truth.sum((1, 2)).argmax())
    low = max(0, at - reach)
    high = min(len(truth), at + reach + 1)
    found = carry(adapted, scan.rgb[low:high], truth[low:high], at - low)
    each = [dice(mask, true) for mask, true in zip(found, truth[low:high], strict=True)]
    others = [score for k, score in enumerate(each) if k != at - low and not np.isnan(score)]
    return float(np.mean(others)) if others else np.nan, each[at - low]


def carry(
    adapted: Adapted, rgb: NDArray[np.uint8], truth: NDArray[np.bool_], at: int
) -> NDArray[np.bool_]:
    """Masks (frame, row, column) of an object from a box on frame `at` of (frame, row, column, 3)."""
    engine = adapted.engine
    size_hw = (truth.shape[1], truth.shape[2])
    box = PROMPT.first(truth[at : at + 1], np.random.default_rng((7, at, int(truth[at].sum()))))[0]
    assert isinstance(box, Box)
    zoom = engine.card.zoom
    if zoom:
        near = window.around(box.xyxy, size_hw)
    else:
        near = window.whole(size_hw)
    answer = _answer(adapted, window.cut_rgb(rgb[at : at + 1], near)[0], near, box)
    masks = np.zeros(truth.shape, bool)
    masks[at] = _pasted(adapted, answer.logits[0, 0], near, size_hw)
    shown = near
    if zoom:
        shown = _tracking_window(masks[at], box, size_hw, engine.input_size)
    cut = window.cut_rgb(rgb, shown)
    recall = Recall(engine, len(rgb))
    first = engine.encode(cut[at], video=True)
    if zoom:
        given = torch.from_numpy(np.ascontiguousarray(window.cut(masks[at], shown)))[None].to(
            engine.device
        )
        recall.anchor_masks(first, at, given)
    else:
        recall.anchor(first, at, answer)
    for frames, step in ((range(at + 1, len(rgb)), 1), (range(at - 1, -1, -1), -1)):
        for frame in frames:
            features = engine.encode(cut[frame], video=True)
            decoded = gated(best_of(recall.track(features, frame, step)[0]))
            recall.keep(features, frame, decoded, step)
            masks[frame] = _pasted(adapted, decoded.logits[0, 0], shown, size_hw)
    return masks


def _answer(adapted: Adapted, rgb: NDArray[np.uint8], shown: window.Window, box: Box) -> Decoded:
    """What a box on a frame of a stack is answered by; the box in pixels of the frame, `rgb` what
    the window shows.
    """
    engine = adapted.engine
    features: Features = engine.encode(rgb, video=True)
    x0, y0, x1, y1 = shown
    a, b, c, d = box.xyxy
    inside = Box((max(a - x0, 0), max(b - y0, 0), min(c - x0, x1 - x0), min(d - y0, y1 - y0)))
    hint = hint_of([inside])
    found = engine.decode(features, [hint], multimask=engine.multimask(hint.clicks, tracking=False))
    answer = best_of(found)
    if engine.card.zoom:
        return replace(answer, object_score=None)
    return gated(answer)


def _pasted(
    adapted: Adapted, low: Tensor, shown: window.Window, size_hw: tuple[int, int]
) -> NDArray[np.bool_]:
    x0, y0, x1, y1 = shown
    full = np.zeros(size_hw, bool)
    full[y0:y1, x0:x1] = (adapted.engine.to_frame(low, (y1 - y0, x1 - x0)) > 0).cpu().numpy()
    return full


def _tracking_window(
    mask: NDArray[np.bool_], box: Box, size_hw: tuple[int, int], side: int
) -> window.Window:
    """A window with room around a mask, at least a quarter of the input long; the frame where that
    is most of it.
    """
    if mask.any():
        xyxy = Box.around(mask).xyxy
    else:
        xyxy = box.xyxy
    longest = max(xyxy[2] - xyxy[0], xyxy[3] - xyxy[1])
    wanted = max(ROOM * longest, side // 4)
    if wanted > WHOLE * max(size_hw):
        return window.whole(size_hw)
    return window.around(xyxy, size_hw, wanted / longest)
