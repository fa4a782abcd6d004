"""What a session head answers in the window of an object."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from segscope.inference.answers import MaskCandidate, PromptedFrame
from segscope.inference.constants import OUTSIDE
from segscope.inference.crop import Crop
from segscope.inference.learning.guard import PROMPTED, GuardRule, answer_window
from segscope.inference.learning.head import SessionHead
from segscope.inference.learning.window import SIDE, HeadWindow

FINEST = 256  # cells along each side of the logits of a learned answer


def is_finite(candidate: MaskCandidate) -> bool:
    """Whether the network gave numbers."""
    return bool(candidate.logits.isfinite().all())


def learn_window(
    frame: PromptedFrame,
    head: SessionHead,
    window: HeadWindow,
    own: MaskCandidate,
    view: Crop,
    rule: GuardRule = PROMPTED,
) -> MaskCandidate | None:
    """The learned answer, (SIDE, SIDE) on a window; None where the plain one is expected to be as
    good.

    Args:
        own: the network's mask of the object.
        view: the crop whose features are read.
        rule: what is asked of the answer.
    """
    cells = window.read(frame.engine, frame.features, view)
    logits = window.read_logits(frame.engine, own.logits, own.crop)
    learned = answer_window(head, window, cells, logits, rule)
    if learned is None:
        return None
    score = min(own.score + learned.gain, 1.0)
    return MaskCandidate(learned.logits.view(SIDE, SIDE), window.crop, score, own.presence)


def cut_to_box(window: HeadWindow, logits: Tensor, margin: float) -> Tensor:
    """Logits (SIDE, SIDE) on a finer grid, with none of the object outside the box.

    Args:
        margin: of the longer side of the box, by which the object may leave it.
    """
    height, width = window.crop.size_hw
    # of the shape of the crop: SAM takes a square one for its decoder's, which may show padding
    share = min(FINEST / max(height, width), 1.0)
    rows = max(round(height * share), min(height, SIDE))
    columns = max(round(width * share), min(width, SIDE))
    finer = F.interpolate(logits[None, None], (rows, columns), mode="bilinear")[0, 0]
    outside = ~window.in_box((rows, columns), margin).view(rows, columns)
    finer[outside.to(finer.device)] = OUTSIDE
    return finer
