"""Crop: the part of a frame that the network looks at, the whole frame or a window (zoom)."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segscope.models.engine import DecoderPrompt, Engine, Features
from segscope.render import Renderer

KEPT_ANYHOW = 4  # frames whose features stay, however large they are
OUTSIDE = -10.0  # logit of pixels that a window does not show


@dataclass(frozen=True, slots=True)
class Crop:
    """Pixels [x0, x1) x [y0, y1) of a frame of `frame_hw`; `mirrored` ones are seen right side
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
        least: int = 16,
    ) -> Crop:
        """A square window `factor` times as long as the longer side of a box, shifted to stay
        inside the frame.

        Where the frame is shorter than the window on one side, the window takes that whole side.
        """
        x0, y0, x1, y1 = xyxy
        side = max(factor * max(x1 - x0, y1 - y0), least)
        return cls._centred((x0 + x1) / 2, (y0 + y1) / 2, side, side, frame_hw)

    @classmethod
    def share(
        cls, xyxy: Sequence[float], frame_hw: tuple[int, int], share: float, *, least: int = 16
    ) -> Crop:
        """A window of the frame's shape and `share` of its sides around the centre of a box, inside
        the frame.
        """
        x0, y0, x1, y1 = xyxy
        wide, high = (max(share * side, least) for side in frame_hw[::-1])
        return cls._centred((x0 + x1) / 2, (y0 + y1) / 2, wide, high, frame_hw)

    @classmethod
    def _centred(
        cls, x: float, y: float, wide: float, high: float, frame_hw: tuple[int, int]
    ) -> Crop:
        spans = []
        for middle, length, limit in ((x, wide, frame_hw[1]), (y, high, frame_hw[0])):
            whole = min(math.ceil(length), limit)
            start = min(max(round(middle - whole / 2), 0), limit - whole)
            spans.append((start, start + whole))
        return cls(spans[0][0], spans[1][0], spans[0][1], spans[1][1], frame_hw)

    @property
    def size_hw(self) -> tuple[int, int]:
        return (self.y1 - self.y0, self.x1 - self.x0)

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
        """The window's part of an array (row, column, ...)."""
        part = frame[self.y0 : self.y1, self.x0 : self.x1]
        if self.mirrored:
            return part[:, ::-1].copy()
        return part

    def shift(self, hint: DecoderPrompt) -> DecoderPrompt:
        """A hint in frame pixels as one in pixels of the window; boxes are clipped to it."""
        box = hint.box
        points = hint.points - [self.x0, self.y0]
        height, width = self.size_hw
        if box is not None and not self.is_whole:
            x0 = box[0] - self.x0
            y0 = box[1] - self.y0
            x1 = box[2] - self.x0
            y1 = box[3] - self.y0
            box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
        if self.mirrored:
            points = points * [-1, 1] + [width, 0]
            if box is None:
                box = None
            else:
                box = (width - box[2], box[1], width - box[0], box[3])
        return replace(hint, points=points, box=box)

    def paste(self, logits: Tensor) -> Tensor:
        """(..., row, column) logits of the window's size on the frame, with `OUTSIDE` around."""
        if self.is_whole:
            return logits
        height, width = self.frame_hw
        pad = (self.x0, width - self.x1, self.y0, height - self.y1)
        return F.pad(logits, pad, value=OUTSIDE)


class FeatureCache:
    """Features of frames and views, the latest kept up to a number of bytes."""

    def __init__(
        self, engine: Engine, frames: Renderer, *, video: bool, limit_bytes: int = 64 * 2**20
    ) -> None:
        self.engine = engine
        self.frames = frames
        self.video = video
        self._depth = min(getattr(engine, "depth", 1), len(frames))
        self.encoded = 0
        self._limit = limit_bytes
        self._held = 0
        self._kept: OrderedDict[tuple[int, Crop], Features] = OrderedDict()

    @property
    def held_bytes(self) -> int:
        """What is kept."""
        return self._held

    def get(self, frame: int, view: Crop) -> Features:
        """Features of one view of one frame, computed at most once while they are kept."""
        key = (frame, view)
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        for other, each in self._encode(frame, view):
            before = self._kept.pop((other, view), None)
            self._kept[other, view] = each
            self._held += each.bytes - (0 if before is None else before.bytes)
            self.encoded += 1
        found = self._kept[key]
        self._kept.move_to_end(key)
        while self._held > self._limit and len(self._kept) > max(KEPT_ANYHOW, self._depth):
            _, old = self._kept.popitem(last=False)
            self._held -= old.bytes
        return found

    def _encode(self, frame: int, view: Crop) -> list[tuple[int, Features]]:
        """Features of a frame; with an engine that sees slices together, of all slices of its
        chunk.
        """
        depth = self._depth
        with torch.inference_mode():
            if depth == 1:
                rgb = np.ascontiguousarray(view.cut(self.frames[frame]))
                return [(frame, self.engine.encode(rgb, video=self.video))]
            first = frame // depth * depth
            start = min(first, len(self.frames) - depth)
            cuts = [
                np.ascontiguousarray(view.cut(self.frames[k])) for k in range(start, start + depth)
            ]
            found = self.engine.encode_together(cuts)  # type: ignore[attr-defined]
        # the last chunk of a stack reaches back to be whole; the slices that it borrows belong to
        # the one before
        return [(start + k, each) for k, each in enumerate(found) if start + k >= first]
