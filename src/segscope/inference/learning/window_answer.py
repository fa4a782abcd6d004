"""What a session head answers in the window of an object."""

from __future__ import annotations

from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor

from segscope.inference.answers import PromptedFrame
from segscope.inference.constants import OUTSIDE
from segscope.inference.learning.guard import PROMPTED, GuardRule, LearnedLogits, answer_window
from segscope.inference.learning.head import SessionHead
from segscope.inference.learning.window import SIDE, HeadWindow

FINEST = 256  # cells along each side of the logits of a learned answer


def learn_window(
    frame: PromptedFrame,
    head: SessionHead,
    window: HeadWindow,
    own: Tensor,
    margin: float,
    rule: GuardRule = PROMPTED,
) -> LearnedLogits | None:
    """Learned logits (row, column) over the window's crop, or None where the plain answer is
    expected to be as good.

    Args:
        own: (CELLS,) logits of the network.
        margin: of the longer side of the box, by which the answer may leave it.
        rule: what is asked of it.
    """
    cells = window.read(frame.engine, frame.features)
    learned = answer_window(head, window, cells, own, rule)
    if learned is None:
        return None
    logits = _cut_to_box(window, learned.logits.view(SIDE, SIDE), margin)
    return replace(learned, logits=logits)


def _cut_to_box(window: HeadWindow, logits: Tensor, margin: float) -> Tensor:
    """Logits (SIDE, SIDE) on a finer grid, with none of the object outside the box."""
    rows = min(window.crop.size_hw[0], FINEST)
    columns = min(window.crop.size_hw[1], FINEST)
    finer = F.interpolate(logits[None, None], (rows, columns), mode="bilinear")[0, 0]
    outside = ~window.in_box((rows, columns), margin).view(rows, columns)
    finer[outside.to(finer.device)] = OUTSIDE
    return finer
