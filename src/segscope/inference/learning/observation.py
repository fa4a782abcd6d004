"""Making examples of masks that a person accepted or rejected."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segscope.inference.answers import PromptedFrame
from segscope.inference.learning.example import Example, Source
from segscope.inference.learning.window import HeadWindow, describe_cells
from segscope.inference.prompted_masks import decode_prompts
from segscope.models.engine import ABSENT, NO_PROMPT, Engine
from segscope.prompts import Box

#: cells that are sampled: inside the object, background in its box, outside the box
SAMPLED = (250, 170, 80)
LEAST_LIKENESS = 0.7  # Dice of a mask and the cells that it covers by more than half


def engine_key(engine: Engine) -> str:
    """Opaque id of the features of an engine: of its weights and its input size."""
    return f"{engine.weights_hash}-{engine.input_size}"


def suits_grid(mask: NDArray[np.bool_]) -> bool:
    """Whether the cells of its window can show a mask (row, column), not empty: of a line that is
    thin in its box they show nearly nothing, and a head would learn a wrong shape.
    """
    cover = HeadWindow.around(Box.around(mask).xyxy, (mask.shape[0], mask.shape[1])).cover(mask)
    inside = cover > 0.5
    both = float(cover[inside].sum())
    return 2 * both >= LEAST_LIKENESS * float(cover.sum() + inside.sum())


@torch.inference_mode()
def make_example(
    frame: PromptedFrame, mask: NDArray[np.bool_], source: Source, *, rejected: bool = False
) -> Example:
    """The example of a mask, for about the cost of the answer to a box.

    Args:
        frame: that the mask lies on.
        mask: (row, column), not empty, which suits the grid.
        source: where it comes from.
        rejected: the mask is not of the label: none of its cells counts as inside.
    """
    window = HeadWindow.around(Box.around(mask).xyxy, frame.size_hw)
    cells = window.read(frame.engine, frame.features, window.encoded_crop(frame.engine)).cpu()
    logits, score = _decode_plain(frame, window)
    strata = torch.where(window.in_box(), 1, 2)
    if not rejected:
        strata[window.cover(mask) > 0.5] = 0
    chosen = _sample(strata)
    inside, in_box, outside = torch.bincount(strata, minlength=3).tolist()
    x0, y0, x1, y1 = window.box
    return Example(
        source,
        engine_key(frame.engine),
        cells[chosen].half().numpy(),
        window.places()[chosen].half().numpy(),
        strata[chosen].to(torch.uint8).numpy(),
        (inside, in_box, outside),
        logits[chosen].numpy(),
        describe_cells(cells, logits, window).numpy(),
        (x1 - x0, y1 - y0),
        score,
    )


def _decode_plain(frame: PromptedFrame, window: HeadWindow) -> tuple[Tensor, float]:
    """(CELLS,) logits of the network for the box alone, and its predicted IoU; none of an object
    where the answer overflowed.
    """
    prompt = replace(NO_PROMPT, box=window.box)
    best = decode_prompts(frame.without_head(), prompt, None).candidates[0]
    logits = window.read_logits(frame.engine, best.logits, best.crop).cpu()
    if not bool(logits.isfinite().all()):
        return torch.full_like(logits, ABSENT), 0.0
    return logits, best.score


def _sample(strata: Tensor) -> Tensor:
    """Cells of each stratum, the same for the same window."""
    rng = np.random.default_rng(0)
    chosen = []
    for stratum, most in enumerate(SAMPLED):
        cells = np.flatnonzero(strata.numpy() == stratum)
        if len(cells) > most:
            cells = rng.choice(cells, most, replace=False)
        chosen.append(cells)
    return torch.from_numpy(np.concatenate(chosen))
