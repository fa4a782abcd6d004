"""Parts of the mask of one object."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from segscope.inference.answers import MaskCandidate
from segscope.inference.constants import OUTSIDE
from segscope.inference.crop import Xyxy
from segscope.models.engine import Engine

OWN = 0.3  # share of a part that the network must find too


def keep_parts(learned: MaskCandidate, own: Tensor, xy: tuple[float, float]) -> MaskCandidate:
    """A learned mask without the parts that are other objects of its label.

    Args:
        learned: on the same grid as `own`.
        own: (row, column) logits of the network. What it does not find, and nobody clicked, is
            another object.
        xy: the click, in pixels of the frame.
    """
    parts, count = ndimage.label((learned.logits > 0).cpu().numpy())
    if count < 2:
        return learned
    areas = np.bincount(parts.ravel(), minlength=count + 1)
    found = np.bincount(parts[(own > 0).cpu().numpy()], minlength=count + 1)
    kept = found > OWN * areas
    kept[parts[find_cell(learned, xy)]] = True
    kept[0] = False
    if not kept.any():
        return learned
    others = torch.from_numpy((parts > 0) & ~kept[parts]).to(learned.logits.device)
    return learned._replace(logits=learned.logits.masked_fill(others, OUTSIDE))


def find_cell(candidate: MaskCandidate, xy: tuple[float, float]) -> tuple[int, int]:
    """Row and column of the logits that a point of the frame falls on, or the nearest."""
    rows, columns = candidate.logits.shape
    height, width = candidate.crop.size_hw
    row = int((xy[1] - candidate.crop.y0) * rows / height)
    column = int((xy[0] - candidate.crop.x0) * columns / width)
    return min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)


def cover_crop(engine: Engine, candidate: MaskCandidate) -> MaskCandidate:
    """The mask with logits that cover its crop: a decoder that is shown whole frames may show
    padding beside them.
    """
    if engine.window_rule is not None:
        return candidate
    crop = candidate.crop
    return candidate._replace(logits=engine.to_frame(candidate.logits, crop.size_hw))


def mask_box(candidate: MaskCandidate) -> Xyxy | None:
    """The box around a mask, in pixels of the frame; None where it is empty."""
    mask = candidate.logits > 0
    rows = mask.any(1).nonzero().flatten().tolist()
    columns = mask.any(0).nonzero().flatten().tolist()
    if not rows:
        return None
    height, width = candidate.crop.size_hw
    per_row = height / mask.shape[0]
    per_column = width / mask.shape[1]
    x0 = candidate.crop.x0
    y0 = candidate.crop.y0
    return (
        x0 + columns[0] * per_column,
        y0 + rows[0] * per_row,
        x0 + (columns[-1] + 1) * per_column,
        y0 + (rows[-1] + 1) * per_row,
    )
