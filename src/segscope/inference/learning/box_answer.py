"""The learned answer to a box."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from segscope.inference.answers import MaskCandidate, PromptedFrame, PromptedMasks
from segscope.inference.constants import OUTSIDE
from segscope.inference.crop import Xyxy
from segscope.inference.learning.guard import choose_mixture
from segscope.inference.learning.head import SessionHead
from segscope.inference.learning.stack import mix
from segscope.inference.learning.window import SIDE, HeadWindow, describe_cells

FINEST = 256  # cells along each side of the logits of a learned answer
OVERFLOW_NOTE = "the network's answer overflowed; check its weights"
MARGIN = 0.02  # of the longer side of the box, by which a learned answer may leave it


def learn_box(
    frame: PromptedFrame, head: SessionHead, plain: PromptedMasks, box: Xyxy
) -> PromptedMasks:
    """Put the learned answer before the plain one, where the head is expected to help.

    Args:
        head: of the object's label.
        plain: the network's own masks for the box.
        box: in pixels of the frame.
    """
    window = HeadWindow.around(box, frame.size_hw)
    best = plain.candidates[0]
    if not is_finite(best):
        return replace(plain, note=OVERFLOW_NOTE)
    learned = mix_window(frame, head, window, best)
    if learned is None:
        return plain
    candidate = learned._replace(logits=_cut_to_box(window, learned.logits))
    return PromptedMasks([candidate, *plain.candidates[:3]], note=head.note, learned=True)


def is_finite(candidate: MaskCandidate) -> bool:
    """Whether the network gave numbers."""
    return bool(candidate.logits.isfinite().all())


def mix_window(
    frame: PromptedFrame, head: SessionHead, window: HeadWindow, own: MaskCandidate
) -> MaskCandidate | None:
    """A mask of the network and the head together, (SIDE, SIDE) on a window, or None where the head
    is not expected to help.

    Args:
        own: the network's mask of the object; features are read from the view that it was found in.
    """
    cells = window.read(frame.engine, frame.features, own.crop)
    logits = window.sample(own.logits[None, None].float(), own.crop).flatten()
    choice = choose_mixture(head, describe_cells(cells, logits, window).cpu())
    if choice is None:
        return None
    features = torch.cat([cells, window.places().to(cells.device)], 1)
    mixed = mix(head.mixtures[choice.mixture][None], logits, head.ridge(features))
    score = min(own.score + choice.gain, 1.0)
    return MaskCandidate(mixed.view(SIDE, SIDE), window.crop, score, own.presence)


def _cut_to_box(window: HeadWindow, logits: Tensor) -> Tensor:
    """Logits (SIDE, SIDE) on a finer grid, with none of the object outside the box."""
    rows = min(window.crop.size_hw[0], FINEST)
    columns = min(window.crop.size_hw[1], FINEST)
    finer = F.interpolate(logits[None, None], (rows, columns), mode="bilinear")[0, 0]
    outside = ~window.in_box((rows, columns), MARGIN).view(rows, columns)
    finer[outside.to(finer.device)] = OUTSIDE
    return finer
