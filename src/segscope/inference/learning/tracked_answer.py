"""The learned answer on a frame that tracking reaches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segscope.inference.answers import MaskCandidate, PromptedFrame
from segscope.inference.learning.guard import TRACKED
from segscope.inference.learning.head import SessionHead
from segscope.inference.learning.window import HeadWindow
from segscope.inference.learning.window_answer import cut_to_box, learn_window
from segscope.prompts import Box

LEAST_AREA = 20  # pixels; smaller masks say too little of where the object lies
MARGIN = 0.1  # of the longer side of the mask's box, by which a learned answer may leave it


def learn_tracked(
    frame: PromptedFrame,
    head: SessionHead,
    plain: MaskCandidate,
    mask: NDArray[np.bool_],
) -> MaskCandidate | None:
    """The learned answer in the window of a tracked mask, or None where the plain one stays.

    It never finds an object on a frame where the network has lost it, and never empties a mask.

    Args:
        head: of the object's label.
        plain: the network's own answer.
        mask: (row, column) the same on the frame.
    """
    if mask.sum() < LEAST_AREA:
        return None
    window = HeadWindow.around(Box.around(mask).xyxy, frame.size_hw)
    view = window.encoded_crop(frame.engine)
    learned = learn_window(frame, head, window, plain, view, TRACKED)
    if learned is None:
        return None
    logits = cut_to_box(window, learned.logits, MARGIN)
    if not bool((logits > 0).any()):
        return None
    return learned._replace(logits=logits, score=plain.score)
