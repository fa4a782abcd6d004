"""Engine: what prediction asks of a network, whatever its family.

Encode once, prompt many: `encode` is the costly step and its result serves every prompt and every
object on a frame. Coordinates given to an engine are pixels of the image that was encoded, as
prompts have them; an engine scales them to its input itself. `predict` knows engines only through
this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segscope.models.model_cards import Card


@dataclass(frozen=True, eq=False)
class Features:
    """A image as the decoder sees it.

    Attributes:
        maps: feature maps (1, channel, row, column), highest resolution first; the last one is what
            memory conditions.
        size_hw: rows and columns of the image that was encoded.
        position: positional encoding of the last map (1, channel, row, column), or None.
    """

    maps: tuple[Tensor, ...]
    size_hw: tuple[int, int]
    position: Tensor | None = None

    @property
    def bytes(self) -> int:
        return sum(item.numel() * item.element_size() for item in self.maps)


@dataclass(frozen=True, eq=False)
class DecoderPrompt:
    """All that is said about one object on one frame, ready to decode.

    Attributes:
        points: (N, 2) x, y in pixels of the encoded image.
        positive: (N,) bool.
        box: (x0, y0, x1, y1) or None.
        previous: (row, column) float32 low-resolution logits of an earlier answer, or None.
        last: (row, column) float32 logits of the answer on the neighbouring frame, while tracking
            with an engine that `uses_previous_logits`; else None.
    """

    points: NDArray[np.float64]
    positive: NDArray[np.bool_]
    box: tuple[float, float, float, float] | None = None
    previous: Tensor | None = None
    last: Tensor | None = None

    @property
    def clicks(self) -> int:
        """Points as the SAM family counts them: a box is two."""
        return len(self.points) + (2 if self.box is not None else 0)


NO_HINT = DecoderPrompt(np.zeros((0, 2)), np.zeros(0, bool))


@dataclass(frozen=True, eq=False)
class Decoded:
    """Answers for O objects with M candidate masks each.

    Attributes:
        logits: (O, M, row, column) at the decoder's resolution.
        iou: (O, M) predicted IoU.
        object_score: (O,) logit of "the object is here", or None.
        tokens: (O, M, channel) mask tokens, from which memory makes object pointers; None without
            memory.
    """

    logits: Tensor
    iou: Tensor
    object_score: Tensor | None = None
    tokens: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Memory:
    """What is remembered of one object on one frame.

    Attributes:
        map: (channel, row, column) memory features (bfloat16), or (token, channel) where the family
            compresses them.
        pointer: (channel,) object pointer.
        iou: predicted IoU of the mask it was made from.
        object_score: logit of "the object is there".
        position: positional encoding of `map` where it is not the family's constant one; None
            otherwise.
    """

    map: Tensor
    pointer: Tensor
    iou: float
    object_score: float
    position: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Bank:
    """Memories of one object for one frame, as a policy chose them.

    Attributes:
        maps: (age, memory) pairs; age 0 for prompted frames, else the distance in frames, 1 to
            `memory_frames` - 1, or None for images between which there is no time.
        pointers: (distance, memory) pairs for the object pointers.
        longest: normaliser of pointer distances: the smaller of stack length and the family's
            pointer limit.
    """

    maps: Sequence[tuple[int | None, Memory]]
    pointers: Sequence[tuple[int, Memory]]
    longest: int


class Engine(Protocol):
    """A loaded network.

    Attributes:
        card: where it comes from and what it can do.
        device, dtype: where and how it computes.
        input_size: side of the square input in pixels.
        weights_hash: SHA-256 of the weights, first 16 hex digits; part of every record.
        memory_frames, pointer_limit: memory frames and object pointers that tracking uses; 0 for families
            without memory.
        uses_previous_logits: whether tracking also shows the decoder the answer on the neighbouring frame.
    """

    card: Card
    device: torch.device
    dtype: torch.dtype
    input_size: int
    weights_hash: str
    memory_frames: int
    pointer_limit: int
    uses_previous_logits: bool

    def encode(self, rgb: NDArray[np.uint8], *, video: bool = False) -> Features:
        """Features of a image (row, column, 3). `video` picks the resampling that the family uses
        on videos.
        """

    def decode(
        self,
        features: Features,
        hints: Sequence[DecoderPrompt],
        *,
        multimask: bool,
        conditioned: Tensor | None = None,
    ) -> Decoded:
        """Masks of O objects from their hints.

        Args:
            features: of the frame.
            hints: one for each object; objects are batched, and may have different numbers of
                points.
            multimask: three candidates instead of one.
            conditioned: (O, channel, row, column) last map after `attend`; default: the plain
                image's.
        """

    def to_frame(self, logits: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """(..., row, column) logits of the decoder at the size of the encoded image, by the
        family's rule.
        """

    def multimask(self, clicks: int, *, tracking: bool) -> bool:
        """Whether three candidates are asked for: `clicks` points (a box is two), or none while
        `tracking`.
        """

    def remember(
        self, features: Features, decoded: Decoded, *, prompted: Sequence[bool]
    ) -> list[Memory]:
        """Memories of O objects whose chosen masks are `decoded` (M = 1); prompted masks are
        binarised first.
        """

    def remember_masks(self, features: Features, masks: Tensor) -> tuple[Decoded, list[Memory]]:
        """Take (O, 1, row, column) masks of 0 and 1, of the encoded image's size, as answers, and
        remember them.
        """

    def attend(self, features: Features, banks: Sequence[Bank]) -> Tensor:
        """(O, channel, row, column) last map of the frame, conditioned on each object's bank."""

    def settings(self) -> dict[str, Any]:
        """What must be the same for the same answers: family, input size, dtype, library versions."""
