"""Case score: how unsure answers on a frame that nobody prompted would be."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from segscope.inference.answers import PromptedFrame
from segscope.inference.crop import Crop, Xyxy
from segscope.inference.learning.head import SessionHead
from segscope.inference.learning.likeness import (
    describe_shape,
    feature_distances,
    shape_distances,
)
from segscope.inference.learning.window import HeadWindow, describe_cells, read_ridge
from segscope.inference.prompted_masks import decode_prompts
from segscope.models.engine import NO_PROMPT

FIELD = 5.0  # longer sides of the usual object that the part of the frame is long that is searched


@dataclass(frozen=True, slots=True)
class CaseScore:
    """What orders cases.

    Attributes:
        uncertainty: 0 to 1, IoU short of 1 that the network predicts for its mask where an object
            is likely. On validation sessions that ranks answers by their Dice, plain or learned,
            better than disagreement of network and head.
        unlikeness: 0 upwards, distance of that place to the nearest example; about 1 for another
            kind of image.
    """

    uncertainty: float
    unlikeness: float


@torch.inference_mode()
def score_frame(frame: PromptedFrame, head: SessionHead) -> CaseScore:
    """The score of the place of a frame that is most like an object of the head's label."""
    box = _find_likely_box(frame, head)
    window = HeadWindow.around(box, frame.size_hw)
    prompt = replace(NO_PROMPT, box=box)
    best = decode_prompts(frame.without_head(), prompt, None).candidates[0]
    own = window.read_logits(frame.engine, best.logits, best.crop).nan_to_num()
    cells = window.read(frame.engine, frame.features, window.encoded_crop(frame.engine))
    in_box = window.in_box().to(own.device)
    means = describe_cells(cells, own, window).cpu()
    x0, y0, x1, y1 = box
    shape = describe_shape(own, in_box.double(), max(x1 - x0, y1 - y0))
    squares = feature_distances(head.descriptions, head.spread, means) ** 2
    squares = squares + shape_distances(head.descriptions, shape) ** 2
    uncertainty = 1 - min(max(best.score, 0.0), 1.0)
    return CaseScore(uncertainty, float(squares.min().sqrt()))


def _find_likely_box(frame: PromptedFrame, head: SessionHead) -> Xyxy:
    """A square of the usual size of the examples around the place with the highest mean value of
    the ridge, in the middle of the frame.
    """
    height, width = frame.size_hw
    side = float(head.longer_sides.median())
    middle = (width / 2, height / 2, width / 2, height / 2)
    view = Crop.whole(frame.size_hw)
    if frame.engine.window_rule is not None:
        view = Crop.around(middle, frame.size_hw, factor=1.0, least=round(FIELD * side))
    values = read_ridge(head.whole, frame.engine.pixel_maps(frame.features(view)))
    rows, columns = values.shape[-2:]
    view_height, view_width = view.size_hw
    # odd, so that the mean keeps the place
    down = _odd(side * rows / view_height, rows)
    across = _odd(side * columns / view_width, columns)
    padding = (down // 2, across // 2)
    means = F.avg_pool2d(values, (down, across), stride=1, padding=padding, count_include_pad=False)
    place = int(means.argmax())
    x = view.x0 + (place % columns + 0.5) * view_width / columns
    y = view.y0 + (place // columns + 0.5) * view_height / rows
    half = side / 2
    return (
        max(x - half, 0.0),
        max(y - half, 0.0),
        min(x + half, float(width)),
        min(y + half, float(height)),
    )


def _odd(length: float, most: int) -> int:
    """The odd number of cells nearest to a length, at most `most`."""
    cells = min(max(round(length), 1), most)
    return cells if cells % 2 else cells - 1
