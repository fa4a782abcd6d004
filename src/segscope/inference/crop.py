"""Crop: the part of a frame that the network is shown, the whole frame or a window of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segscope.inference.constants import OUTSIDE
from segscope.models.engine import DecoderPrompt

LEAST_SIDE = 16  # pixels; smaller windows show the network too little

Xyxy = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Crop:
    """Pixels [x0, x1) x [y0, y1) of a frame of `frame_hw`; `mirrored` ones are shown right side
    left.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    frame_hw: tuple[int, int]
    mirrored: bool = False

    @classmethod
    def whole(cls, frame_hw: tuple[int, int]) -> Crop:
        return cls(0, 0, frame_hw[1], frame_hw[0], frame_hw)

    @classmethod
    def around(
        cls,
        xyxy: Sequence[float],
        frame_hw: tuple[int, int],
        *,
        factor: float = 1.8,
        least: int = LEAST_SIDE,
    ) -> Crop:
        """A square window `factor` times as long as the longer side of a box, shifted to stay
        inside the frame.

        Where the frame is shorter than the window on one side, the window takes that whole side.
        """
        x0, y0, x1, y1 = xyxy
        side = max(factor * max(x1 - x0, y1 - y0), least)
        return cls._centred(xyxy, (side, side), frame_hw)

    @classmethod
    def share(
        cls,
        xyxy: Sequence[float],
        frame_hw: tuple[int, int],
        share: float,
        *,
        least: int = LEAST_SIDE,
    ) -> Crop:
        """A window of the frame's shape and `share` of its sides around the centre of a box, inside
        the frame.
        """
        height, width = frame_hw
        size_hw = (max(share * height, least), max(share * width, least))
        return cls._centred(xyxy, size_hw, frame_hw)

    @classmethod
    def _centred(
        cls, xyxy: Sequence[float], size_hw: tuple[float, float], frame_hw: tuple[int, int]
    ) -> Crop:
        x0, y0, x1, y1 = xyxy
        left, right = _interval((x0 + x1) / 2, size_hw[1], frame_hw[1])
        top, bottom = _interval((y0 + y1) / 2, size_hw[0], frame_hw[0])
        return cls(left, top, right, bottom, frame_hw)

    @property
    def size_hw(self) -> tuple[int, int]:
        return (self.y1 - self.y0, self.x1 - self.x0)

    @property
    def rows(self) -> slice:
        return slice(self.y0, self.y1)

    @property
    def columns(self) -> slice:
        return slice(self.x0, self.x1)

    @property
    def is_whole(self) -> bool:
        return self.size_hw == self.frame_hw

    def holds(self, xyxy: Sequence[float]) -> bool:
        """Whether a box lies inside, edges of the frame aside."""
        x0, y0, x1, y1 = xyxy
        height, width = self.frame_hw
        return (
            max(x0, 0) >= self.x0
            and max(y0, 0) >= self.y0
            and min(x1, width) <= self.x1
            and min(y1, height) <= self.y1
        )

    def holds_middle(self, xyxy: Sequence[float]) -> bool:
        """Whether the middle of a box lies inside."""
        x = (xyxy[0] + xyxy[2]) / 2
        y = (xyxy[1] + xyxy[3]) / 2
        return self.x0 <= x < self.x1 and self.y0 <= y < self.y1

    def cut(self, frame: NDArray[np.generic]) -> NDArray[np.generic]:
        """The crop's part of an array (row, column, ...)."""
        part = frame[self.y0 : self.y1, self.x0 : self.x1]
        if self.mirrored:
            return part[:, ::-1].copy()
        return part

    def shift(self, prompt: DecoderPrompt) -> DecoderPrompt:
        """A prompt in pixels of the frame as one in pixels of the crop; boxes are clipped to it."""
        points = prompt.points - [self.x0, self.y0]
        box = prompt.box
        height, width = self.size_hw
        if box is not None and not self.is_whole:
            x0 = max(box[0] - self.x0, 0.0)
            y0 = max(box[1] - self.y0, 0.0)
            x1 = min(box[2] - self.x0, float(width))
            y1 = min(box[3] - self.y0, float(height))
            box = (x0, y0, x1, y1)
        if self.mirrored:
            points = points * [-1, 1] + [width, 0]
            if box is not None:
                box = (width - box[2], box[1], width - box[0], box[3])
        return replace(prompt, points=points, box=box)

    def paste(self, logits: Tensor) -> Tensor:
        """(..., row, column) logits of the crop's size on the frame, with `OUTSIDE` around."""
        if self.is_whole:
            return logits
        height, width = self.frame_hw
        pad = (self.x0, width - self.x1, self.y0, height - self.y1)
        return F.pad(logits, pad, value=OUTSIDE)


def union(boxes: Sequence[Xyxy]) -> Xyxy:
    """The box around boxes."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _interval(middle: float, length: float, limit: int) -> tuple[int, int]:
    """Whole pixels [start, end) around a middle, shifted to stay between 0 and the limit."""
    whole = min(math.ceil(length), limit)
    start = int(min(max(round(middle - whole / 2), 0), limit - whole))
    return start, start + whole
