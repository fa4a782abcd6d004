"""Prompts of one object on one frame, combined into what a decoder takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segscope.inference.constants import CLICKS_PER_SCRIBBLE, GIVEN
from segscope.models.engine import DecoderPrompt
from segscope.prompts import Box, MaskPrompt, Point, Prompt, Scribble


@dataclass(frozen=True, eq=False)
class CombinedPrompts:
    """All prompts of one object on one frame.

    Attributes:
        decoder_prompt: points and box, in pixels of the frame, without previous logits.
        exact_mask: a mask (row, column) that is the answer without decoding, or None.
        start: (row, column) float32 logits of the frame's size to start from (a mask to refine), or
            None.
        score: of the exact mask.
    """

    decoder_prompt: DecoderPrompt
    exact_mask: NDArray[np.bool_] | None = None
    start: Tensor | None = None
    score: float = 1.0


def combine_prompts(prompts: Sequence[Prompt]) -> CombinedPrompts:
    """Combine prompts in the order they were made.

    The latest box counts; a mask supersedes what came before it, and what comes after refines it.
    """
    mask: MaskPrompt | None = None
    box: tuple[float, float, float, float] | None = None
    points: list[Point] = []
    for prompt in prompts:
        match prompt:
            case MaskPrompt():
                mask = prompt
                box = None
                points = []
            case Box():
                box = prompt.xyxy
            case Scribble():
                points.extend(prompt.points(CLICKS_PER_SCRIBBLE))
            case Point():
                points.append(prompt)
    xy = np.array([(point.x, point.y) for point in points], dtype=np.float64).reshape(-1, 2)
    positive = np.array([point.positive for point in points], dtype=bool)
    combined = CombinedPrompts(DecoderPrompt(xy, positive, box))
    if mask is None:
        return combined
    if combined.decoder_prompt.clicks == 0 and not mask.refine:
        return replace(combined, exact_mask=mask.mask, score=mask.score)
    return replace(combined, start=mask_logits(mask.mask))


def decoder_prompt(prompts: Sequence[Prompt], previous: Tensor | None = None) -> DecoderPrompt:
    """Prompts for a decoder that also answers lone masks, as in training.

    Args:
        prompts: of one object on one image, in the order they were made.
        previous: (row, column) logits of an earlier answer; they take precedence over a mask.
    """
    combined = combine_prompts(prompts)
    if previous is None:
        previous = combined.start
    if previous is None and combined.exact_mask is not None:
        previous = mask_logits(combined.exact_mask)
    return replace(combined.decoder_prompt, previous=previous)


def mask_logits(mask: NDArray[np.bool_]) -> Tensor:
    """A mask (row, column) as logits of plus and minus `GIVEN`."""
    return torch.from_numpy(np.where(mask, np.float32(GIVEN), np.float32(-GIVEN)))
