"""Semantic segmentation: masks of a network that needs no prompt, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from segscope._version import __version__
from segscope.errors import Cancelled
from segscope.masks import Masks, Runs, encode_runs
from segscope.models.engine import engine_identity
from segscope.models.segmenter import Segmenter
from segscope.render import Renderer
from segscope.stack import Stack


@torch.inference_mode()
def segment_classes(
    stack: Stack,
    segmenter: Segmenter,
    *,
    window: str | Mapping[str, object] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Masks:
    """One object for each class of the network; its id is the number of the class.

    Args:
        stack: image, volume or video; frames are segmented one by one.
        segmenter: from `segscope.load`.
        window: see `segscope.render.Renderer`.
        progress: called with (frames done, frames to do).
        cancel: called before each frame; True stops.

    Raises:
        Cancelled: `cancel` returned True.
    """
    frames = Renderer(stack, window)
    runs: dict[tuple[int, int], Runs] = {}
    scores: dict[tuple[int, int], float] = {}
    for frame in range(len(stack)):
        if cancel is not None and cancel():
            raise Cancelled("stopped; nothing was written")
        logits = segmenter.predict(np.ascontiguousarray(frames[frame]))
        labels = logits.argmax(0).cpu().numpy()
        probability = logits.softmax(0).amax(0).cpu().numpy()
        for number in np.unique(labels[labels > 0]).tolist():
            mask = labels == number
            runs[frame, number] = encode_runs(mask)
            scores[frame, number] = float(probability[mask].mean())
        if progress is not None:
            progress(frame + 1, len(stack))
    record = {
        "version": __version__,
        "engine": engine_identity(segmenter),
        "window": frames.record(),
    }
    names = dict(enumerate(segmenter.classes, start=1))
    return Masks(
        stack.shape_zyx, runs, names, scores, stack.geometry, stack.times_s, record, stack.axis
    )
