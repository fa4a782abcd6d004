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
    cells = window.read(frame.engine, frame.features)
    own = window.read_logits(frame.engine, best.logits, best.crop)
    if not bool(own.isfinite().all()):
        return replace(plain, note=OVERFLOW_NOTE)
    choice = choose_mixture(head, describe_cells(cells, own, window).cpu())
    if choice is None:
        return plain
    features = torch.cat([cells, window.places().to(cells.device)], 1)
    logits = mix(head.mixtures[choice.mixture][None], own, head.ridge(features))
    learned = _cut_to_box(window, logits.view(SIDE, SIDE))
    score = min(best.score + choice.gain, 1.0)
    candidate = MaskCandidate(learned, window.crop, score, best.presence)
    return PromptedMasks([candidate, *plain.candidates[:3]], note=head.note, learned=True)


def _cut_to_box(window: HeadWindow, logits: Tensor) -> Tensor:
    """Logits (SIDE, SIDE) on a finer grid, with none of the object outside the box."""
    height, width = window.crop.size_hw
    # of the shape of the crop: SAM takes a square one for its decoder's, which may show padding
    share = min(FINEST / max(height, width), 1.0)
    rows = max(round(height * share), min(height, SIDE))
    columns = max(round(width * share), min(width, SIDE))
    finer = F.interpolate(logits[None, None], (rows, columns), mode="bilinear")[0, 0]
    outside = ~window.in_box((rows, columns), MARGIN).view(rows, columns)
    finer[outside.to(finer.device)] = OUTSIDE
    return finer
