"""Validation while training: Dice of a jittered box on each thing, seen as at inference; of
classes, without prompts.

Lighter than the evaluator, which stands above this room: answers are single decodes, frames are
judged one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segscope.adapt import window
from segscope.adapt.data.training_set import Gathered, Item, Thing
from segscope.adapt.losses.interactive import hint_of
from segscope.adapt.method import Adapted
from segscope.metrics.overlap import dice
from segscope.models.engine import Features
from segscope.models.segmenter import Segmenter
from segscope.prompts import Box
from segscope.simulate.plan import Plan

MOST = 64
"""Things, or frames for class maps, that a validation looks at, evenly spaced in their order."""

PROMPT = Plan.parse("box.jitter:share=0.1")
OUTSIDE = -10.0

Look = Callable[[Item, window.Window], Features]
"""Features of a window of a frame."""


@torch.no_grad()
def validate(adapted: Adapted, cases: Gathered, most: int = MOST) -> dict[str, float]:
    """Mean Dice, 0 to 1: of things, or of classes where the result needs no prompt."""
    if isinstance(adapted.model, Segmenter):
        model = adapted.model
        return classes_dice(cases, lambda _frame, rgb: model.predict(rgb), most)
    return {"dice": float(np.mean(list(_things(adapted, cases, most))))}


@torch.no_grad()
def validate_with(
    adapted: Adapted, cases: Gathered, features: Look, most: int = MOST
) -> dict[str, float]:
    """Mean Dice of things, for methods that encode images in a way of their own."""
    return {"dice": float(np.mean(list(_things(adapted, cases, most, features))))}


def chosen(cases: Gathered, most: int = MOST) -> list[tuple[int, Item, Thing]]:
    """Number, frame and thing of what a validation looks at."""
    every = [
        (number, item, thing) for number, item in enumerate(cases.items) for thing in item.things
    ]
    if len(every) <= most:
        return every
    return [every[k] for k in np.linspace(0, len(every) - 1, most).round().astype(int).tolist()]


def _things(
    adapted: Adapted, cases: Gathered, most: int, look: Look | None = None
) -> Iterator[float]:
    engine = adapted.engine
    kept: tuple[object, Features] | None = None
    for number, item, thing in chosen(cases, most):
        scan = cases.scans[item.case]
        truth = scan.planes[thing.plane, item.frame] == thing.value
        size_hw = (truth.shape[0], truth.shape[1])
        # a generator for each thing: the boxes are the same at every validation
        box = PROMPT.first(
            truth[None], np.random.default_rng((6, number, thing.plane, thing.value))
        )[0]
        assert isinstance(box, Box)
        if engine.card.zoom:
            shown = window.around(box.xyxy, size_hw)
        else:
            shown = window.whole(size_hw)
        key = (number, shown)
        if kept is None or kept[0] != key:
            rgb = scan.rgb[item.frame][None]
            kept = (
                key,
                look(item, shown)
                if look
                else features(adapted, key, window.cut_rgb(rgb, shown)[0]),
            )
        found = _answer(adapted, kept[1], box, shown)
        full = np.zeros(size_hw, bool)
        x0, y0, x1, y1 = shown
        full[y0:y1, x0:x1] = found
        yield dice(full, truth)


def features(adapted: Adapted, key: object, rgb: NDArray[np.uint8]) -> Features:
    """Features of a view of a validation frame; kept by its key where the encoder does not change."""
    store = None
    if adapted.method.frozen_encoder:
        store = adapted.store
    if store is None:
        return adapted.engine.encode(rgb)
    found = store.get(("val", key))
    if found is None:
        found = [adapted.engine.encode(rgb)]
        store.put(("val", key), found)
    return found[0]


def _answer(
    adapted: Adapted, features: Features, box: Box, shown: window.Window
) -> NDArray[np.bool_]:
    """Mask (row, column) of a window for a box in pixels of the frame."""
    x0, y0, x1, y1 = shown
    a, b, c, d = box.xyxy
    inside = Box((max(a - x0, 0), max(b - y0, 0), min(c - x0, x1 - x0), min(d - y0, y1 - y0)))
    hint = hint_of([inside])
    engine = adapted.engine
    many = engine.multimask(hint.clicks, tracking=False)
    decoded = engine.decode(features, [hint], multimask=many)
    low = decoded.logits[0, int(decoded.iou[0].argmax())]
    found: NDArray[np.bool_] = (engine.to_frame(low, features.size_hw) > 0).cpu().numpy()
    return found


def classes_dice(
    cases: Gathered, predict: Callable[[int, NDArray[np.uint8]], Tensor], most: int = MOST
) -> dict[str, float]:
    """Mean Dice of each class over the frames where it is or is claimed, and the mean of these.

    Args:
        cases: to validate on.
        predict: number of a frame and its image (row, column, 3) to logits (class, row, column)
            at its size.
        most: frames that are looked at.
    """
    count = len(cases.items)
    looked = np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist()
    scores: dict[str, list[float]] = {name: [] for name in cases.classes}
    for number in looked:
        item = cases.items[number]
        scan = cases.scans[item.case]
        truth = cases.class_map(scan.planes[:, item.frame : item.frame + 1], scan.names)[0]
        found = predict(number, scan.rgb[item.frame]).argmax(0).cpu().numpy()
        for k, name in enumerate(cases.classes, 1):
            score = dice(found == k, truth == k)
            if not np.isnan(score):
                scores[name].append(score)
    means = {f"dice {name}": float(np.mean(found)) for name, found in scores.items() if found}
    return {"dice": float(np.mean(list(means.values()))), **means}
