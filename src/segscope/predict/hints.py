"""Prompts of one object on one frame, put together as the network takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segscope.models.engine import DecoderPrompt
from segscope.predict.state import GIVEN
from segscope.prompts import Box, MaskPrompt, Point, Prompt, Scribble

CLICKS_PER_SCRIBBLE = 5


@dataclass(frozen=True, eq=False)
class Request:
    """What all prompts of one object on one frame ask for.

    Attributes:
        given: a mask to be taken as it is, or None.
        hint: points and box, in frame pixels, without previous logits.
        start: (row, column) float32 logits of the frame's size to start from (a mask to refine), or
            None.
        score: of the mask that is given.
    """

    given: NDArray[np.bool_] | None
    hint: DecoderPrompt
    start: Tensor | None
    score: float = 1.0


def request(prompts: Sequence[Prompt]) -> Request:
    """Combine prompts in the order they were made.

    The latest box counts; a mask supersedes what came before it, and what comes after refines it.
    """
    base: MaskPrompt | None = None
    box: tuple[float, float, float, float] | None = None
    points: list[Point] = []
    for prompt in prompts:
        match prompt:
            case MaskPrompt():
                base = prompt
                box = None
                points = []
            case Box():
                box = prompt.xyxy
            case Scribble():
                points.extend(prompt.points(CLICKS_PER_SCRIBBLE))
            case Point():
                points.append(prompt)
    hint = DecoderPrompt(
        np.array([(point.x, point.y) for point in points], dtype=np.float64).reshape(-1, 2),
        np.array([point.positive for point in points], dtype=bool),
        box,
    )
    if base is None:
        return Request(None, hint, None)
    if hint.clicks == 0 and not base.refine:
        return Request(base.mask, hint, None, base.score)
    return Request(None, hint, mask_logits(base.mask))


def mask_logits(mask: NDArray[np.bool_]) -> Tensor:
    """A mask (row, column) as logits of plus and minus `GIVEN`."""
    return torch.from_numpy(np.where(mask, np.float32(GIVEN), np.float32(-GIVEN)))


def hard_stop(prompts: Sequence[Prompt]) -> bool:
    """Whether the prompts say that the object is not on the frame: negative ones only, or an empty
    mask.
    """
    if not prompts:
        return False
    last = prompts[-1]
    if isinstance(last, MaskPrompt):
        return not last.mask.any()
    return all(isinstance(prompt, Point | Scribble) and not prompt.positive for prompt in prompts)
