"""The learned answer to corrections, and to any prompts that say where an object is.

The network goes on from the answer so far, which the head took part in. The head is added to what
it makes of the clicks, the less the more clicks there are: a person who goes on correcting knows
better than the examples. What was clicked ends on the side that was clicked.

A learned answer to a box is right in most places where the network alone is not. There a click only
changes the part of the mask that it contradicts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from segscope.inference.answers import MaskCandidate, PromptedFrame, PromptedMasks
from segscope.inference.crop import Xyxy, union
from segscope.inference.learning.guard import can_help
from segscope.inference.learning.head import SessionHead
from segscope.inference.learning.parts import cover_crop, find_cell, mask_box
from segscope.inference.learning.window import SIDE, HeadWindow
from segscope.inference.learning.window_answer import is_finite, learn_window
from segscope.models.engine import DecoderPrompt
from segscope.prompts import Box

# chosen on validation sessions; see benchmarks/learning.py
FADING = 0.7  # share of the head's part that remains with each click after the first
SURE = 1.0  # logit that a clicked cell has at least
REACH = 2.0  # cells; standard deviation of what a click that was missed moves
LOCAL = 0.3  # longer sides of the box from a click within which it may change a learned answer
SPOT = 0.06  # the same, where the network does not follow the click
FINEST = 256  # cells along each side of the logits of a changed answer


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
    if frame.learned and prompt.box is not None and previous is not None and is_finite(own):
        covering = cover_crop(frame.engine, own)
        learned = _change_locally(frame, covering, prompt, prompt.box, previous)
        return PromptedMasks([learned, *plain.candidates[:3]], note=head.note, learned=True)
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


def _change_locally(
    frame: PromptedFrame, own: MaskCandidate, prompt: DecoderPrompt, box: Xyxy, previous: Tensor
) -> MaskCandidate:
    """The answer so far, changed about the clicks that it contradicts: to what the network makes of
    them, in the parts where it follows them.
    """
    crop = own.crop
    grid = (min(crop.size_hw[0], FINEST), min(crop.size_hw[1], FINEST))
    whole = F.interpolate(previous[None, None].float(), frame.size_hw, mode="bilinear")[0, 0]
    so_far = F.interpolate(
        whole[crop.rows, crop.columns][None, None], grid, mode="bilinear", antialias=True
    )[0, 0]
    corrected = F.interpolate(own.logits[None, None].float(), grid, mode="bilinear")[0, 0]
    corrected = corrected.to(so_far)
    side = max(box[2] - box[0], box[3] - box[1])
    result = MaskCandidate(so_far, crop, own.score, own.presence)
    for (x, y), positive in zip(prompt.points.tolist(), prompt.positive.tolist(), strict=True):
        row, column = find_cell(result, (x, y))
        if bool(so_far[row, column] > 0) == positive:
            continue
        sign = 1.0 if positive else -1.0
        distances = _distances(result, (x, y))
        wrong = sign * so_far <= 0
        part = wrong & (distances <= SPOT * side)
        if bool(sign * corrected[row, column] > 0):
            parts, _ = ndimage.label((wrong & (sign * corrected > 0)).cpu().numpy())
            follows = torch.from_numpy(parts == parts[row, column]).to(so_far.device)
            part = follows & (distances <= LOCAL * side)
        changed = sign * (sign * corrected).clamp(min=SURE)
        so_far = torch.where(part, changed, so_far)
        so_far[row, column] = changed[row, column]
    return result._replace(logits=so_far)


def _distances(candidate: MaskCandidate, xy: tuple[float, float]) -> Tensor:
    """(row, column) distances of the cells of a mask to a point, in pixels of the frame."""
    rows, columns = candidate.logits.shape
    crop = candidate.crop
    height, width = crop.size_hw
    device = candidate.logits.device
    x = crop.x0 + (torch.arange(columns, device=device) + 0.5) * width / columns
    y = crop.y0 + (torch.arange(rows, device=device) + 0.5) * height / rows
    return torch.hypot((y - xy[1])[:, None], (x - xy[0])[None, :])


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
