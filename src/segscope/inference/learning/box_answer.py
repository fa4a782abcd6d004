"""The learned answer to a box."""

from __future__ import annotations

from dataclasses import replace

from segscope.inference.answers import PromptedFrame, PromptedMasks
from segscope.inference.crop import Xyxy
from segscope.inference.learning.head import SessionHead
from segscope.inference.learning.window import HeadWindow
from segscope.inference.learning.window_answer import cut_to_box, is_finite, learn_window

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
    learned = learn_window(frame, head, window, best, window.encoded_crop(frame.engine))
    if learned is None:
        return plain
    candidate = learned._replace(logits=cut_to_box(window, learned.logits, MARGIN))
    return PromptedMasks([candidate, *plain.candidates[:3]], note=head.note, learned=True)
