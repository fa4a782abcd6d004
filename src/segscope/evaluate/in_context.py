"""In-context: no prompt on the image itself, but others with their masks before it, as frames of
a made-up video.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segscope.evaluate.results_log import Row
from segscope.io.datasets.reading import Case, read_image, read_target
from segscope.metrics import score
from segscope.models.engine import Engine
from segscope.prompts import MaskPrompt
from segscope.render import Renderer
from segscope.session.interaction import Interaction
from segscope.stack import Stack

Rgb = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def in_context(
    stack: Stack,
    truths: dict[str, Mask],
    examples: Sequence[Case],
    engine: Engine,
    metrics: Sequence[str],
) -> Iterator[Row]:
    """Rows of the in-context rule of arXiv 2412.01240, one a class.

    The examples that show the class are the first frames, each prompted with its true mask; the
    image is the last one, and is tracked.

    Args:
        stack: the image.
        truths: (row, column) of each class.
        examples: images with truth, other patients than the image's.
        engine: one that tracks; without memory it hands the last mask on.
        metrics: names of `segscope.metrics.METRICS`.
    """
    size = stack.size_hw
    target = np.asarray(Renderer(stack, None)[0])
    shown = [_shown(case) for case in examples]
    for label, truth in truths.items():
        began = time.perf_counter()
        known = [
            (rgb, masks[label]) for rgb, masks in shown if label in masks and masks[label].any()
        ]
        if not known:
            continue
        frames = np.stack([*(_resized(rgb, size) for rgb, _ in known), target])
        video = Stack.from_array(frames, times_s=np.arange(len(frames)) / 10.0)
        prompts = [MaskPrompt(_resized(mask, size), frame) for frame, (_, mask) in enumerate(known)]
        with Interaction(video, engine, overlap="keep") as work:
            work.add(*(prompt for prompt in prompts if prompt.mask.any()))
            *_, found = work.propagate("forward")
        scores = score(found.mask, truth, metrics=metrics)
        yield {
            "label": label,
            "object": f"class:{label}",
            "pixels": int(truth.sum()),
            "choose": "predicted",
            "round": 1,
            "prompts": len(known),
            "frames": 1,
            "outcome": scores.case,
            "unit": scores.unit,
            "predicted_iou": found.score,
            "true_iou": None,
            "seconds": round(time.perf_counter() - began, 4),
            **{name: float(value) for name, value in scores.values.items()},
        }


_kept: dict[tuple[str, str], tuple[Rgb, dict[str, Mask]]] = {}


def _shown(case: Case) -> tuple[Rgb, dict[str, Mask]]:
    """What the network sees of an example, and the mask of each class in it; those of one data set
    are kept.
    """
    key = (case.dataset, case.id)
    if key not in _kept:
        if any(dataset != case.dataset for dataset, _ in _kept):
            _kept.clear()
        _kept[key] = _read(case)
    return _kept[key]


def _read(case: Case) -> tuple[Rgb, dict[str, Mask]]:
    stack = read_image(case)
    masks: dict[str, Mask] = {}
    for target in case.targets:
        truth = read_target(target, stack)
        for object_id in truth.object_ids:
            label = truth.names[object_id] or target.label
            mask = truth.mask(0, object_id)
            masks[label] = masks[label] | mask if label in masks else mask
    return np.asarray(Renderer(stack, None)[0]), masks


def _resized(array: NDArray[Any], size_hw: tuple[int, int]) -> NDArray[Any]:
    """A image or mask of another size; masks take the nearest pixel."""
    if array.shape[:2] == size_hw:
        return array
    if array.dtype == bool:
        way = Image.Resampling.NEAREST
    else:
        way = Image.Resampling.BILINEAR
    values = array
    if array.dtype == bool:
        values = array.astype(np.uint8) * 255
    made = np.asarray(Image.fromarray(values).resize(size_hw[::-1], way))
    if array.dtype == bool:
        return made > 127
    return made
