"""The learned answer to corrections, and to any prompts that say where an object is.

The network goes on from the answer so far, which the head took part in. The head is added to what
it makes of the clicks, the less the more clicks there are: a person who goes on correcting knows
better than the examples. What was clicked ends on the side that was clicked.
"""

from __future__ import annotations

import torch
from torch import Tensor

from segscope.inference.answers import PromptedFrame, PromptedMasks
from segscope.inference.crop import Xyxy, union
from segscope.inference.learning.guard import can_help
from segscope.inference.learning.head import SessionHead
from segscope.inference.learning.parts import cover_crop, mask_box
from segscope.inference.learning.window import SIDE, HeadWindow
from segscope.inference.learning.window_answer import is_finite, learn_window
from segscope.models.engine import DecoderPrompt
from segscope.prompts import Box

# chosen on validation sessions; see benchmarks/learning.py
FADING = 0.7  # share of the head's part that remains with each click after the first
SURE = 1.0  # logit that a clicked cell has at least
REACH = 2.0  # cells; standard deviation of what a click that was missed moves


def learn_correction(
    frame: PromptedFrame,
    head: SessionHead,
    plain: PromptedMasks,
    prompt: DecoderPrompt,
    previous: Tensor | None,
) -> PromptedMasks:
    """Put the learned answer before the plain one, where the head is expected to help.

    Args:
        head: of the object's label.
        plain: the network's own masks for the prompts and the answer so far.
        prompt: points and box, in pixels of the frame.
        previous: (row, column) logits of the answer so far, of any size that covers the frame.
    """
    own = plain.candidates[0]
    box = locate_object(prompt, previous, frame.size_hw) or mask_box(cover_crop(frame.engine, own))
    if box is None or not can_help(head) or not is_finite(own):
        return plain
    window = HeadWindow.around(box, frame.size_hw)
    mixed = learn_window(frame, head, window, own, own.crop)
    if mixed is None:
        return plain
    network = window.read_logits(frame.engine, own.logits, own.crop).view(SIDE, SIDE)
    part = FADING ** max(len(prompt.points) - 1, 0)
    logits = network + part * (mixed.logits - network)
    learned = mixed._replace(logits=_obey_clicks(logits, window, prompt))
    return PromptedMasks([learned, *plain.candidates[:3]], note=head.note, learned=True)


def locate_object(
    prompt: DecoderPrompt, previous: Tensor | None, size_hw: tuple[int, int]
) -> Xyxy | None:
    """The box, in pixels of the frame, around the answer so far, the box and the positive clicks;
    None where neither answer nor box says how large the object is.
    """
    known: list[Xyxy] = []
    if previous is not None and bool((previous > 0).any()):
        rows, columns = previous.shape
        x0, y0, x1, y1 = Box.around((previous > 0).cpu().numpy()).xyxy
        across = size_hw[1] / columns
        down = size_hw[0] / rows
        known.append((x0 * across, y0 * down, x1 * across, y1 * down))
    if prompt.box is not None:
        known.append(prompt.box)
    if not known:
        return None
    clicks = [(x, y, x, y) for x, y in prompt.points[prompt.positive].tolist()]
    return union(known + clicks)


def _obey_clicks(logits: Tensor, window: HeadWindow, prompt: DecoderPrompt) -> Tensor:
    """Logits (SIDE, SIDE) on a window, raised or lowered about clicks that they contradict."""
    rows, columns = logits.shape
    height, width = window.crop.size_hw
    cells_x = (torch.arange(columns, device=logits.device) + 0.5)[None, :]
    cells_y = (torch.arange(rows, device=logits.device) + 0.5)[:, None]
    for (x, y), positive in zip(prompt.points.tolist(), prompt.positive.tolist(), strict=True):
        column = (x - window.crop.x0) * columns / width
        row = (y - window.crop.y0) * rows / height
        if not (0 <= column < columns and 0 <= row < rows):
            continue
        sign = 1.0 if positive else -1.0
        missing = SURE - sign * float(logits[int(row), int(column)])
        if missing > 0:
            squares = (cells_x - column) ** 2 + (cells_y - row) ** 2
            logits = logits + sign * missing * torch.exp(-squares / (2 * REACH**2))
    return logits
