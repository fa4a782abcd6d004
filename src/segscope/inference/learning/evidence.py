"""Evidence: whether a session head agrees with what a person marked.

A learned mask that is not cut to the box of an object should still fill it and keep to it. Examples
of one patient say little of the next one; a box on his images does.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from segscope.inference.answers import PromptedFrame
from segscope.inference.crop import Xyxy
from segscope.inference.learning.head import SessionHead
from segscope.inference.learning.window import HeadWindow
from segscope.inference.learning.window_answer import is_finite, learn_window
from segscope.inference.prompted_masks import decode_prompts
from segscope.models.engine import NO_PROMPT

# chosen on validation volumes and videos
LEAST_FIT = 0.95  # of the network's own mask, which shows how tight the box is
MOST_LEAK = 0.2  # share of the learned mask outside the box


@torch.inference_mode()
def agrees_with_box(frame: PromptedFrame, head: SessionHead, box: Xyxy) -> bool:
    """Whether the head answers a box, with a mask that fits it about as well as the network's own.

    Args:
        frame: that the box lies on.
        head: of the object's label.
        box: in pixels of the frame.
    """
    window = HeadWindow.around(box, frame.size_hw)
    prompt = replace(NO_PROMPT, box=box)
    plain = decode_prompts(frame.without_head(), prompt, None).candidates[0]
    if not is_finite(plain):
        return False
    learned = learn_window(frame, head, window, plain, window.encoded_crop(frame.engine))
    if learned is None:
        return False
    own = window.read_logits(frame.engine, plain.logits, plain.crop)
    return fits_box(window, learned.logits > 0, own.view_as(learned.logits) > 0)


def fits_box(window: HeadWindow, mask: Tensor, like: Tensor) -> bool:
    """Whether a mask fits the box of a window about as well as another one.

    Args:
        mask, like: (SIDE, SIDE) bool, not cut to the box.
    """
    in_box = window.in_box().view_as(mask).to(mask.device)
    outside = int((mask & ~in_box).sum())
    if outside > MOST_LEAK * int(mask.sum()):
        return False
    return _extent(mask & in_box) >= LEAST_FIT * _extent(like & in_box)


def _extent(mask: Tensor) -> int:
    """Area of the box around a mask (row, column), in cells."""
    area = 1
    for axis in (0, 1):
        taken = mask.any(axis).nonzero()
        if not len(taken):
            return 0
        area *= int(taken.max() - taken.min()) + 1
    return area
