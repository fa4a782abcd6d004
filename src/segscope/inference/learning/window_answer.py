"""What a session head answers in the window of an object."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from segscope.inference.answers import PromptedFrame
from segscope.inference.constants import OUTSIDE
from segscope.inference.learning.guard import choose_mixture
from segscope.inference.learning.head import SessionHead
from segscope.inference.learning.stack import mix
from segscope.inference.learning.window import SIDE, HeadWindow, describe_cells

FINEST = 256  # cells along each side of the logits of a learned answer


@dataclass(frozen=True, eq=False)
class WindowAnswer:
    """Learned logits in a window.

    Attributes:
        logits: (row, column) over the window's crop.
        gain: expected Dice above the plain answer's.
    """

    logits: Tensor
    gain: float


def learn_window(
    frame: PromptedFrame,
    head: SessionHead,
    window: HeadWindow,
    own: Tensor,
    margin: float,
) -> WindowAnswer | None:
    """The learned answer in a window, or None where the plain one is expected to be as good.

    Args:
        own: (CELLS,) logits of the network.
        margin: of the longer side of the box, by which the answer may leave it.
    """
    cells = window.read(frame.engine, frame.features)
    choice = choose_mixture(head, describe_cells(cells, own, window).cpu())
    if choice is None:
        return None
    features = torch.cat([cells, window.places().to(cells.device)], 1)
    logits = mix(head.mixtures[choice.mixture][None], own, head.ridge(features))
    return WindowAnswer(_cut_to_box(window, logits.view(SIDE, SIDE), margin), choice.gain)


def _cut_to_box(window: HeadWindow, logits: Tensor, margin: float) -> Tensor:
    """Logits (SIDE, SIDE) on a finer grid, with none of the object outside the box."""
    rows = min(window.crop.size_hw[0], FINEST)
    columns = min(window.crop.size_hw[1], FINEST)
    finer = F.interpolate(logits[None, None], (rows, columns), mode="bilinear")[0, 0]
    outside = ~window.in_box((rows, columns), margin).view(rows, columns)
    finer[outside.to(finer.device)] = OUTSIDE
    return finer
