"""The learned answer to a lone click.

A click does not say how large its object is; examples do. The network answers in windows that suit
their sizes, and each mask is judged by its own size and by how well it agrees with the session
head. The best one is looked at once more, as if its box had been drawn. Where the head is not
expected to help there, the plain answer stays, unless its size is an unusual
one and another mask suits the examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from segscope.inference.answers import MaskCandidate, PromptedFrame, PromptedMasks
from segscope.inference.crop import Crop, Xyxy
from segscope.inference.learning.box_answer import OVERFLOW_NOTE
from segscope.inference.learning.head import SessionHead
from segscope.inference.learning.parts import cover_crop, keep_parts, mask_box
from segscope.inference.learning.sizes import ExampleSizes
from segscope.inference.learning.window import SIDE, HeadWindow, add_places, read_ridge
from segscope.inference.learning.window_answer import is_finite, learn_window
from segscope.inference.windows import (
    cut_penalty,
    decode_crop,
    expect_overlap,
    measure_overlaps,
    weigh_scores,
)
from segscope.models.engine import DecoderPrompt

# what counts for a mask beside the IoU that the network predicts; chosen on validation sessions of
# benchmarks/learning.py
AGREEMENT_POWER = 3.0  # of the agreement with the head, in how likely a mask is
SIZE_BONUS = 0.06  # expected IoU that a unit of log likelihood of the size is worth
AGREEMENT_BONUS = 0.6  # the same for the agreement
USUAL = -0.5  # log likelihood of sizes that the examples suggest
UNUSUAL = -1.5  # the same of sizes that they speak against
ALIKE = 0.75  # agreement of a mask that looks like the examples
MARGIN = 0.05  # expected IoU by which a mask must exceed the plain answer


@dataclass(frozen=True, eq=False)
class JudgedMasks:
    """Masks for one click, and what speaks for each.

    Attributes:
        candidates: N masks of the network, the plain answer first.
        overlaps: (N, N) IoU of each pair.
        likelihoods: (N,) log likelihood of each one's size.
        agreements: (N,) Dice of each one and the head, about the mask.
    """

    candidates: Sequence[MaskCandidate]
    overlaps: Tensor
    likelihoods: Tensor
    agreements: Tensor

    def choose(self) -> int:
        """Position of the best mask; 0, the plain answer, if none is clearly better."""
        weights = weigh_scores(self.candidates)
        weights = weights * self.likelihoods.exp()
        weights = weights * (AGREEMENT_POWER * self.agreements).exp()
        worth = expect_overlap(self.overlaps, weights) - cut_penalty(self.candidates)
        worth = worth + SIZE_BONUS * self.likelihoods
        worth = worth + AGREEMENT_BONUS * self.agreements
        best = int(worth.argmax())
        if worth[best] > worth[0] + MARGIN:
            return best
        return 0

    def is_certain(self, best: int) -> bool:
        """Whether a mask has a usual size, looks like the examples, and the plain answer has a size
        that they speak against.
        """
        suits = float(self.likelihoods[best]) > USUAL and float(self.agreements[best]) > ALIKE
        return suits and float(self.likelihoods[0]) < UNUSUAL


def learn_click(
    frame: PromptedFrame, head: SessionHead, plain: PromptedMasks, prompt: DecoderPrompt
) -> PromptedMasks | None:
    """The learned answer before the network's own, or None where examples promise no better one.

    Args:
        head: of the object's label.
        plain: the network's own masks for the click, in windows that suit the examples.
        prompt: a lone positive click, in pixels of the frame.
    """
    if not all(map(is_finite, plain.candidates)):
        return replace(plain, candidates=plain.candidates[:4], note=OVERFLOW_NOTE)
    judged = judge_masks(frame, head, plain.candidates)
    best = judged.choose()
    learned = _look_closer(frame, head, judged.candidates[best], prompt)
    if learned is None and judged.is_certain(best):
        learned = judged.candidates[best]
    if learned is None:
        return None
    return PromptedMasks([learned, *plain.candidates[:3]], note=head.note, learned=True)


def judge_masks(
    frame: PromptedFrame, head: SessionHead, candidates: Sequence[MaskCandidate]
) -> JudgedMasks:
    """What speaks for each of the network's masks for a click."""
    sizes = ExampleSizes.of(head)
    covering = [cover_crop(frame.engine, candidate) for candidate in candidates]
    boxes = list(map(mask_box, covering))
    values: dict[Crop, Tensor] = {}
    agreements = []
    for candidate, box in zip(covering, boxes, strict=True):
        crop = candidate.crop
        if crop not in values:
            values[crop] = read_ridge(head.whole, frame.engine.pixel_maps(frame.features(crop)))
        agreements.append(_agree(head, candidate, values[crop], box))
    return JudgedMasks(
        candidates,
        measure_overlaps(covering, frame.size_hw),
        torch.tensor([sizes.log_likelihood(box) for box in boxes]),
        torch.tensor(agreements),
    )


def _agree(head: SessionHead, candidate: MaskCandidate, values: Tensor, box: Xyxy | None) -> float:
    """Dice of a mask and the head, in the window of the mask's box."""
    if box is None:
        return 0.0
    window = HeadWindow.around(box, candidate.crop.frame_hw)
    mask = window.sample(candidate.logits[None, None].float(), candidate.crop).flatten() > 0
    inside = add_places(head.whole, window, window.sample(values, candidate.crop)) > 0
    total = int(mask.sum()) + int(inside.sum())
    return 2 * int((mask & inside).sum()) / max(total, 1)


def _look_closer(
    frame: PromptedFrame, head: SessionHead, best: MaskCandidate, prompt: DecoderPrompt
) -> MaskCandidate | None:
    """The learned answer in the window of the best mask, or None where the head is not expected to
    help.
    """
    box = mask_box(cover_crop(frame.engine, best))
    if box is None:
        return None
    window = HeadWindow.around(box, frame.size_hw)
    own = best
    x, y = prompt.points[0].tolist()
    if frame.engine.window_rule is not None and window.crop.holds((x, y, x, y)):
        previous = best.crop.paste(frame.engine.to_frame(best.logits, best.crop.size_hw))
        crop = window.encoded_crop(frame.engine)
        (own,) = decode_crop(frame, crop, replace(prompt, box=box), previous)
    learned = learn_window(frame, head, window, own, own.crop)
    if learned is None:
        return None
    found = window.read_logits(frame.engine, own.logits, own.crop).view(SIDE, SIDE)
    return keep_parts(learned, found, (x, y))
