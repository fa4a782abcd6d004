"""Evidence: whether a session head agrees with a box that a person drew.

A learned mask that is not cut to the box should still fill it and keep to it. Examples of one
patient say little of the next one; the box does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from segscope.inference.answers import PromptedFrame
from segscope.inference.crop import Xyxy
from segscope.inference.learning.guard import answer_window
from segscope.inference.learning.head import SessionHead
from segscope.inference.learning.observation import decode_box
from segscope.inference.learning.window import SIDE, HeadWindow

# chosen on validation volumes and videos
LEAST_FIT = 0.95  # of the network's own mask, which shows how tight the box is
MOST_LEAK = 0.2  # share of the learned mask outside the box


@torch.inference_mode()
def agrees_with_box(frame: PromptedFrame, head: SessionHead, box: Xyxy) -> bool:
    """Whether the head answers a box, and its mask fits the box about as well as the network's own.

    Args:
        frame: that the box was drawn on.
        head: of the object's label.
        box: in pixels of the frame.
    """
    window = HeadWindow.around(box, frame.size_hw)
    own, _ = decode_box(frame, window)
    learned = answer_window(head, window, window.read(frame.engine, frame.features).cpu(), own)
    if learned is None:
        return False
    mask = learned.logits > 0
    outside = int((mask & ~window.in_box()).sum())
    if outside > MOST_LEAK * int(mask.sum()):
        return False
    return _measure_fit(window, mask) >= LEAST_FIT * _measure_fit(window, own > 0)


def _measure_fit(window: HeadWindow, mask: Tensor) -> float:
    """Share of the box that the box of the mask (CELLS,) inside it takes."""
    in_box = window.in_box()
    return _extent(mask & in_box) / _extent(in_box)


def _extent(cells: Tensor) -> int:
    """Cells of the box around those (CELLS,) that are set."""
    grid = cells.view(SIDE, SIDE)
    sides = []
    for axis in (0, 1):
        taken = grid.any(axis).nonzero()
        if not len(taken):
            return 0
        sides.append(int(taken.max() - taken.min()) + 1)
    return sides[0] * sides[1]
