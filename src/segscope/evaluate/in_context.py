"""In-context: instead of a prompt on the image, other images with their masks precede it as frames
of a pseudo-video.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segscope.evaluate.results_log import Row
from segscope.io.datasets.dataset import Case
from segscope.io.datasets.reading import read_image, read_target
from segscope.masks import FrameMask
from segscope.metrics import score
from segscope.models.engine import Engine
from segscope.prompts import MaskPrompt
from segscope.render import Renderer
from segscope.session.interaction import Interaction
from segscope.stack import Stack

Rgb = NDArray[np.uint8]
Mask = NDArray[np.bool_]
FRAMES_PER_S = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class ContextExample:
    """An image as the network sees it, and the mask of each class in it."""

    rgb: Rgb
    masks: dict[str, Mask]


def in_context(
    stack: Stack,
    truths: dict[str, Mask],
    examples: Sequence[Case],
    engine: Engine,
    metrics: Sequence[str],
) -> Iterator[Row]:
    """Rows of the in-context rule of arXiv 2412.01240, one for each class.

    The examples with an object of the class are the first frames, each prompted with its true mask;
    the image is the last frame, and is tracked.

    Args:
        stack: the image.
        truths: (row, column) of each class.
        examples: images with truth, of other patients than the image's.
        engine: one that tracks; without memory it passes on the last mask.
        metrics: names of `segscope.metrics.METRICS`.
    """
    target = np.asarray(Renderer(stack, None)[0])
    pool = list(map(_load_example, examples))
    for label, truth in truths.items():
        start = time.perf_counter()
        context = [example for example in pool if label in example.masks]
        context = [example for example in context if example.masks[label].any()]
        if not context:
            continue
        answer = _segment(target, label, context, engine)
        seconds = time.perf_counter() - start
        scores = score(answer.mask, truth, metrics=metrics)
        yield {
            "label": label,
            "object": f"class:{label}",
            "pixels": int(truth.sum()),
            "choose": "predicted",
            "round": 1,
            "prompts": len(context),
            "frames": 1,
            "outcome": scores.case,
            "unit": scores.unit,
            "predicted_iou": answer.score,
            "true_iou": None,
            "seconds": round(seconds, 4),
            **{name: float(value) for name, value in scores.values.items()},
        }


def _segment(
    target: Rgb, label: str, context: Sequence[ContextExample], engine: Engine
) -> FrameMask:
    """The answer on the last frame of a video of the examples and the image."""
    size_hw = target.shape[:2]
    frames = np.stack([*(_resize_image(example.rgb, size_hw) for example in context), target])
    video = Stack.from_array(frames, times_s=np.arange(len(frames)) / FRAMES_PER_S)
    masks = [_resize_mask(example.masks[label], size_hw) for example in context]
    prompts = [MaskPrompt(mask, frame) for frame, mask in enumerate(masks) if mask.any()]
    with Interaction(video, engine, overlap="keep") as work:
        work.add(*prompts)
        *_, answer = work.propagate("forward")
    return answer


_examples: dict[tuple[str, str], ContextExample] = {}
"""Examples of one data set, by data set and case; every case of it uses the same ones."""


def _load_example(case: Case) -> ContextExample:
    key = (case.dataset, case.id)
    if key not in _examples:
        if any(dataset != case.dataset for dataset, _ in _examples):
            _examples.clear()
        _examples[key] = _read_example(case)
    return _examples[key]


def _read_example(case: Case) -> ContextExample:
    stack = read_image(case)
    masks: dict[str, Mask] = {}
    for target in case.targets:
        truth = read_target(target, stack)
        for object_id in truth.object_ids:
            label = truth.names[object_id] or target.label
            mask = truth.mask(0, object_id)
            masks[label] = masks.get(label, np.zeros_like(mask)) | mask
    return ContextExample(np.asarray(Renderer(stack, None)[0]), masks)


def _resize_image(rgb: Rgb, size_hw: tuple[int, int]) -> Rgb:
    if rgb.shape[:2] == size_hw:
        return rgb
    return np.asarray(Image.fromarray(rgb).resize(size_hw[::-1], Image.Resampling.BILINEAR))


def _resize_mask(mask: Mask, size_hw: tuple[int, int]) -> Mask:
    """The mask with another size; each pixel takes the value of the nearest one."""
    if mask.shape == size_hw:
        return mask
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    resized = np.asarray(grey.resize(size_hw[::-1], Image.Resampling.NEAREST))
    larger: Mask = resized > 127
    return larger
