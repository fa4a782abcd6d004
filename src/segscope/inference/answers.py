"""Answers: what a prompted frame is, and the masks that its prompts get."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor

from segscope.inference.crop import Crop
from segscope.inference.learning.head import SessionHead
from segscope.models.engine import Decoded, Engine, Features


class MaskCandidate(NamedTuple):
    """One mask for prompts.

    Attributes:
        logits: (row, column) of the crop, at the decoder's resolution.
        crop: what they cover.
        score: predicted IoU.
        presence: logit of "the object is here", or None.
    """

    logits: Tensor
    crop: Crop
    score: float
    presence: float | None


@dataclass(frozen=True, eq=False)
class PromptedMasks:
    """Answer to prompts.

    Attributes:
        candidates: best first.
        decoded: the best one as the decoder gave it (M = 1), for memory; None from windows, where
            memory is made later in the window of tracking.
        note: why the answer is not the network's own, or "".
        learned: whether the best mask is a learned answer; the plain one is the next.
    """

    candidates: Sequence[MaskCandidate]
    decoded: Decoded | None = None
    note: str = ""
    learned: bool = False


@dataclass(frozen=True, eq=False)
class PromptedFrame:
    """A frame on which prompts are answered.

    Attributes:
        engine: answers.
        size_hw: of the frame.
        features: gives the features of a crop of it.
        remembers: whether the answer becomes a memory of a sequence; an absent object is then
            empty.
        conditioned: (1, channel, row, column) last map after memory attention, where tracking has
            passed the frame; None for a frame seen by itself.
        head: what was learned from examples of the object's label; None for plain answers.
        learned: whether the answer so far is a learned one.
    """

    engine: Engine
    size_hw: tuple[int, int]
    features: Callable[[Crop], Features]
    remembers: bool = False
    conditioned: Tensor | None = None
    head: SessionHead | None = None
    learned: bool = False

    def without_head(self) -> PromptedFrame:
        """The same frame for plain answers."""
        return replace(self, head=None)
