"""Engine: what prediction and adaptation ask of a network, whatever its family.

Encode once, prompt many: `encode` is the costly step and its result serves every prompt and every
object on a frame. Coordinates given to an engine are pixels of the image that was encoded, as
prompts have them; an engine scales them to its input itself. Rooms above `models` know engines only
through this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segscope.models.model_cards import Card
from segscope.models.segmenter import Segmenter

ABSENT = -1024.0
"""Logit of every pixel of an object that is not on a frame (SAM 2's value)."""


@dataclass(frozen=True, eq=False)
class Features:
    """An image as the decoder sees it.

    Attributes:
        maps: feature maps (1, channel, row, column), highest resolution first; the last one is what
            memory conditions.
        size_hw: rows and columns of the image that was encoded.
        position: positional encoding of the last map (1, channel, row, column), or None.
        deep: maps (1, channel, row, column) that say more of a pixel than those for the decoder,
            where the family has such maps; learning from examples reads them.
    """

    maps: tuple[Tensor, ...]
    size_hw: tuple[int, int]
    position: Tensor | None = None
    deep: tuple[Tensor, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(item.numel() * item.element_size() for item in (*self.maps, *self.deep))


@dataclass(frozen=True, eq=False)
class DecoderPrompt:
    """All prompts of one object on one frame, as a decoder takes them.

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
        if self.box is None:
            return len(self.points)
        return len(self.points) + 2


NO_PROMPT = DecoderPrompt(np.zeros((0, 2)), np.zeros(0, bool))


@dataclass(frozen=True, eq=False)
class Decoded:
    """Answers for O objects with M candidate masks each.

    Attributes:
        logits: (O, M, row, column) at the decoder's resolution.
        iou: (O, M) predicted IoU.
        object_score: (O,) logit of "the object is here", or None.
        tokens: (O, M, channel) mask tokens, from which memory makes object pointers; None without
            memory. A single answer may come with one token whatever mask was chosen inside the
            decoder.
    """

    logits: Tensor
    iou: Tensor
    object_score: Tensor | None = None
    tokens: Tensor | None = None

    def pick(self, row: int, mask: int | None = None) -> Decoded:
        """One object, with all its candidates or only candidate `mask`."""
        candidates = slice(None)
        if mask is not None:
            candidates = slice(mask, mask + 1)
        tokens = self.tokens
        if tokens is not None:
            tokens = tokens[row : row + 1]
            if tokens.shape[1] > 1:
                tokens = tokens[:, candidates]
        score = self.object_score
        if score is not None:
            score = score[row : row + 1]
        logits = self.logits[row : row + 1, candidates]
        iou = self.iou[row : row + 1, candidates]
        return Decoded(logits, iou, score, tokens)

    def best(self) -> Decoded:
        """The candidate with the highest predicted IoU of each object (M = 1)."""
        rows = torch.arange(len(self.iou), device=self.iou.device)
        best = self.iou.argmax(1)
        tokens = self.tokens
        if tokens is not None and tokens.shape[1] > 1:
            tokens = tokens[rows, best][:, None]
        logits = self.logits[rows, best][:, None]
        iou = self.iou[rows, best][:, None]
        return replace(self, logits=logits, iou=iou, tokens=tokens)

    def present(self) -> Decoded:
        """Empty masks for objects that are not on the frame by their object score."""
        if self.object_score is None:
            return self
        here = (self.object_score > 0)[:, None, None, None]
        return replace(self, logits=torch.where(here, self.logits, ABSENT))

    def detach_scores(self) -> Decoded:
        """The same with scores, which memories store as plain numbers, that carry no gradient."""
        score = self.object_score
        if score is not None:
            score = score.detach()
        return replace(self, iou=self.iou.detach(), object_score=score)


def stack_decoded(parts: Sequence[Decoded]) -> Decoded:
    """Several objects as one `Decoded`."""
    scores = [part.object_score for part in parts if part.object_score is not None]
    tokens = [part.tokens for part in parts if part.tokens is not None]
    return Decoded(
        torch.cat([part.logits for part in parts]),
        torch.cat([part.iou for part in parts]),
        torch.cat(scores) if scores else None,
        torch.cat(tokens) if tokens else None,
    )


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


@dataclass(frozen=True, slots=True)
class WindowRule:
    """Windows of a frame that an engine is shown instead of the whole frame.

    Attributes:
        box: side of the window around a box alone, in longer sides of the box; 1.3 to 1.8 measured
            alike on validation images.
        mask: the same around a mask with the prompts that refine it.
        tracking: the same around tracked objects, which grow and move.
        click_shares: sides of the windows around clicks, in sides of the frame; all are tried when
            nothing else is known of the object.
        whole_frame: a tracking window longer than this share of the frame is not worth cutting.
        mirrors: whether the answer to a box alone is the mean with that to the mirrored window.
        gate_iou: predicted IoU below which the ellipse of a box is the better answer.
    """

    box: float = 1.45
    mask: float = 1.8
    tracking: float = 3.0
    click_shares: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125)
    whole_frame: float = 0.75
    mirrors: bool = False
    gate_iou: float = 0.0


@dataclass(frozen=True, slots=True)
class AnswerRule:
    """How an engine answers prompts, where a published network differs from its family.

    Attributes:
        candidates: masks that the decoder was trained to give: 3 for every prompt on a frame, 1 for
            every prompt and tracked frame, or 0 for the rule of the family.
        previous_as_probability: whether the decoder takes earlier answers as probabilities from 0
            to 1 instead of logits.
    """

    candidates: Literal[0, 1, 3] = 0
    previous_as_probability: bool = False

    def multimask(self, usual: bool, *, tracking: bool) -> bool:
        """Whether three candidates are decoded, where the family's rule says `usual`."""
        if self.candidates == 1:
            return False
        if self.candidates == 3 and not tracking:
            return True
        return usual

    def prepare(self, prompts: Sequence[DecoderPrompt]) -> Sequence[DecoderPrompt]:
        """Prompts as the decoder takes them."""
        if not self.previous_as_probability:
            return prompts
        return [
            prompt
            if prompt.previous is None
            else replace(prompt, previous=prompt.previous.sigmoid())
            for prompt in prompts
        ]


def image_tensor(rgb: NDArray[np.uint8]) -> Tensor:
    """An image as a tensor, which shares its memory unless the array is read-only."""
    return torch.from_numpy(np.require(rgb, requirements=("C", "W")))


class Engine(Protocol):
    """A loaded network.

    Attributes:
        model: the network, in evaluation mode.
        card: where it comes from and what it can do.
        device, dtype: where and how it computes.
        input_size: side of the square input in pixels.
        weights_hash: SHA-256 of the weights, first 16 hex digits; part of every record.
        memory_frames, pointer_limit: memory frames and object pointers that tracking uses; 0 for
            families without memory.
        uses_previous_logits: whether tracking also shows the decoder the answer on the neighbouring
            frame.
        window_rule: the windows it is shown of a frame; None where it is shown whole frames.
        answer_rule: how it answers prompts.
        chunk_depth: neighbouring slices that pass the encoder together; 1 for one by one.
    """

    model: Any  # transformers' modules differ by family
    card: Card
    device: torch.device
    dtype: torch.dtype
    input_size: int
    weights_hash: str
    memory_frames: int
    pointer_limit: int
    uses_previous_logits: bool
    window_rule: WindowRule | None
    answer_rule: AnswerRule
    chunk_depth: int

    def pixels(self, rgb: NDArray[np.uint8], *, video: bool = False) -> Tensor:
        """(1, 3, side, side) input of the encoder for an image (row, column, 3)."""

    def encode(self, rgb: NDArray[np.uint8], *, video: bool = False) -> Features:
        """Features of an image (row, column, 3). `video` picks the resampling that the family uses
        on videos.
        """

    def encode_together(self, images: Sequence[NDArray[np.uint8]]) -> list[Features]:
        """Features of images (row, column, 3) that pass the encoder as one batch, so that its
        blocks see all of them.
        """

    def pixel_maps(self, features: Features) -> tuple[Tensor, ...]:
        """Maps (1, channel, row, column) that each cover exactly the encoded image, from which a
        session head learns.
        """

    def unconditioned(self, features: Features) -> Tensor:
        """(1, channel, row, column) last map for a frame of which nothing is remembered."""

    def decode(
        self,
        features: Features,
        prompts: Sequence[DecoderPrompt],
        *,
        multimask: bool,
        conditioned: Tensor | None = None,
    ) -> Decoded:
        """Masks of O objects from their prompts.

        Args:
            features: of the frame.
            prompts: one for each object; objects are batched, and may have different numbers of
                points.
            multimask: three candidates instead of one.
            conditioned: (O, channel, row, column) last map after `attend`; default: the
                unconditioned one.
        """

    def to_frame(self, logits: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """(..., row, column) logits of the decoder at the size of the encoded image, by the
        family's rule.
        """

    def multimask(self, clicks: int, *, tracking: bool) -> bool:
        """Whether three candidates are decoded: for `clicks` points (a box is two), or none while
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
        """What must be equal for equal answers: family, input size, dtype, library versions."""


def engine_identity(engine: Engine | Segmenter) -> dict[str, Any]:
    """What tells one engine's answers from another's."""
    return {"model": engine.card.name, "weights": engine.weights_hash, **engine.settings()}
