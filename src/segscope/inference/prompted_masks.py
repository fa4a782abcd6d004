"""Masks for the prompts of one object on one frame: whole frames, or windows where engines have a
window rule.

Prompts are combined into what a decoder takes first. Whole frames follow the families' own way: one
decode, earlier logits fed back, the candidate with the highest predicted IoU. Through windows, a
box alone is answered with its mirror image, and a lone click through several windows, whose masks
are compared by the overlap that can be expected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segscope.inference.answers import MaskCandidate, PromptedFrame, PromptedMasks
from segscope.inference.constants import CLAMP, CLICKS_PER_SCRIBBLE, GIVEN
from segscope.inference.crop import Crop, Xyxy
from segscope.inference.learning.box_answer import learn_box
from segscope.inference.learning.click_answer import learn_click
from segscope.inference.learning.correction_answer import learn_correction
from segscope.inference.learning.guard import can_help
from segscope.inference.learning.head import SessionHead
from segscope.inference.learning.sizes import ExampleSizes
from segscope.inference.windows import decode_crop, list_candidates, prompt_crops, rank_candidates
from segscope.models.engine import DecoderPrompt, WindowRule
from segscope.prompts import Box, MaskPrompt, Point, Prompt, Scribble

GATE_NOTE = "gate: the network was unsure; the ellipse of the box"


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

    @property
    def marks_object(self) -> bool:
        """Whether a box, a positive click or a mask marks where the object is."""
        prompt = self.decoder_prompt
        if prompt.box is not None or bool(prompt.positive.any()):
            return True
        if self.exact_mask is not None:
            return bool(self.exact_mask.any())
        return self.start is not None and bool((self.start > 0).any())


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


def decode_prompts(
    frame: PromptedFrame, prompt: DecoderPrompt, previous: Tensor | None
) -> PromptedMasks:
    """Masks for the prompts of one object: the learned answer first, where the frame has a session
    head that promises a better one, then the network's own.

    Args:
        frame: where they were made.
        prompt: points and box, in pixels of the frame.
        previous: (row, column) logits to start from, or None: of the frame's size for engines with
            a window rule, else of any size that covers the frame.
    """
    head = frame.head
    if head is None:
        return _decode_plain(frame, prompt, previous)
    clicked_once = prompt.clicks == 1 and bool(prompt.positive.all())
    if previous is None and clicked_once and can_help(head):
        learned = learn_click(frame, head, _decode_click(frame, head, prompt), prompt)
        # the windows that suit the examples are not all of those that the plain answer is from
        return learned or _decode_plain(frame, prompt, previous)
    plain = _decode_plain(frame, prompt, previous)
    if previous is None and prompt.box is not None and not len(prompt.points):
        return learn_box(frame, head, plain, prompt.box)
    return learn_correction(frame, head, plain, prompt, previous)


def _decode_plain(
    frame: PromptedFrame, prompt: DecoderPrompt, previous: Tensor | None
) -> PromptedMasks:
    """The network's own masks, of which it gives no more than four."""
    rule = frame.engine.window_rule
    if rule is None:
        return _decode_whole(frame, prompt, previous)
    if prompt.box is not None and not len(prompt.points) and previous is None:
        return _decode_box(frame, rule, prompt, prompt.box)
    crops = prompt_crops(rule, prompt, previous, frame.size_hw)
    return PromptedMasks(_decode_windows(frame, crops, prompt, previous)[:4])


def _decode_click(frame: PromptedFrame, head: SessionHead, prompt: DecoderPrompt) -> PromptedMasks:
    """All masks of the network for a lone click, in windows that suit the examples."""
    rule = frame.engine.window_rule
    if rule is None:
        return _decode_whole(frame, prompt, None)
    crops = ExampleSizes.of(head).list_windows(rule, prompt, frame.size_hw)
    return PromptedMasks(_decode_windows(frame, crops, prompt, None))


def _decode_windows(
    frame: PromptedFrame,
    crops: Sequence[Crop],
    prompt: DecoderPrompt,
    previous: Tensor | None,
) -> list[MaskCandidate]:
    """Masks in several windows, best first."""
    candidates = []
    for crop in crops:
        candidates += decode_crop(frame, crop, prompt, previous)
    return rank_candidates(candidates, frame.size_hw)


def _decode_whole(
    frame: PromptedFrame, prompt: DecoderPrompt, previous: Tensor | None
) -> PromptedMasks:
    engine = frame.engine
    crop = Crop.whole(frame.size_hw)
    if previous is not None:
        previous = previous.to(engine.device).clamp(-CLAMP, CLAMP)
    decoded = engine.decode(
        frame.features(crop),
        [replace(prompt, previous=previous)],
        multimask=engine.multimask(prompt.clicks, tracking=False),
        conditioned=frame.conditioned,
    )
    order = decoded.iou[0].argsort(descending=True).tolist()
    best = decoded.pick(0, order[0])
    if frame.remembers:
        best = best.present()
    candidates = list_candidates(decoded, crop)
    ranked = [candidates[i] for i in order]
    ranked[0] = ranked[0]._replace(logits=best.logits[0, 0])
    return PromptedMasks(ranked, best)


# --- windows -------------------------------------------------------------------------------------


def _decode_box(
    frame: PromptedFrame, rule: WindowRule, prompt: DecoderPrompt, box: Xyxy
) -> PromptedMasks:
    """Masks of a box alone: by rule, the mean with the mirror image, and the ellipse of the box
    where the network is unsure.
    """
    crop = Crop.around(box, frame.size_hw, factor=rule.box)
    candidates = decode_crop(frame, crop, prompt, None)
    if rule.mirrors:
        mirrored = decode_crop(frame, replace(crop, mirrored=True), prompt, None)
        candidates = [_mean(*pair) for pair in zip(candidates, mirrored, strict=True)]
    candidates.sort(key=lambda candidate: candidate.score, reverse=True)
    best = candidates[0]
    if best.score >= rule.gate_iou:
        return PromptedMasks(candidates[:4])
    ellipse = best._replace(logits=ellipse_logits(crop, box, best.logits))
    return PromptedMasks([ellipse, *candidates[1:4]], note=GATE_NOTE)


def _mean(candidate: MaskCandidate, mirrored: MaskCandidate) -> MaskCandidate:
    logits = (candidate.logits + mirrored.logits.flip(-1)) / 2
    return candidate._replace(logits=logits, score=(candidate.score + mirrored.score) / 2)


def ellipse_logits(crop: Crop, box: Xyxy, like: Tensor) -> Tensor:
    """Logits of the ellipse inscribed in a box, on the grid of `like` (row, column) over a crop."""
    x0, y0, x1, y1 = box
    rows, columns = like.shape
    height, width = crop.size_hw
    x = crop.x0 + (torch.arange(columns, device=like.device) + 0.5) * width / columns
    y = crop.y0 + (torch.arange(rows, device=like.device) + 0.5) * height / rows
    dx = (x - (x0 + x1) / 2) / ((x1 - x0) / 2)
    dy = (y - (y0 + y1) / 2) / ((y1 - y0) / 2)
    radius = torch.sqrt(dx[None, :] ** 2 + dy[:, None] ** 2)
    return ((1 - radius) * 20).clamp(-4.0, 4.0)
