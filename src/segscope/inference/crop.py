"""Crop: the part of a frame that the network is shown, the whole frame or a window of it; and the
cache of encoded crops.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segscope.inference.constants import OUTSIDE
from segscope.models.engine import DecoderPrompt, Engine, Features

LEAST_SIDE = 16  # pixels; smaller windows show the network too little
LEAST_ENTRIES = 4  # stay in the cache, however large they are

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


class RenderedFrames(Protocol):
    """Frames as the network sees them: (row, column, 3) uint8 each."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...


class EncodedFrames:
    """Features of the latest frames and crops, up to a number of bytes.

    Attributes:
        engine: encodes.
        frames: what is encoded.
        video: whether the family's resampling for videos is used.
        encoded: how often a frame was encoded so far.
        held_bytes: memory that the cache takes.
    """

    def __init__(
        self,
        engine: Engine,
        frames: RenderedFrames,
        *,
        video: bool,
        limit_bytes: int = 64 * 2**20,
    ) -> None:
        self.engine = engine
        self.frames = frames
        self.video = video
        self.encoded = 0
        self._depth = min(engine.chunk_depth, len(frames))
        self._limit = limit_bytes
        self.held_bytes = 0
        self._cache: OrderedDict[tuple[int, Crop], Features] = OrderedDict()

    def get(self, frame: int, crop: Crop) -> Features:
        """Features of one crop of one frame, computed at most once while they are in the cache."""
        key = (frame, crop)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        for number, features in self._encode(frame, crop):
            replaced = self._cache.pop((number, crop), None)
            if replaced is not None:
                self.held_bytes -= replaced.bytes
            self._cache[number, crop] = features
            self.held_bytes += features.bytes
            self.encoded += 1
        self._cache.move_to_end(key)
        features = self._cache[key]
        while self.held_bytes > self._limit and len(self._cache) > max(LEAST_ENTRIES, self._depth):
            _, oldest = self._cache.popitem(last=False)
            self.held_bytes -= oldest.bytes
        return features

    @torch.inference_mode()
    def _encode(self, frame: int, crop: Crop) -> list[tuple[int, Features]]:
        """Features of a frame; of all slices of its chunk with an engine that encodes chunks."""
        if self._depth == 1:
            return [(frame, self.engine.encode(self._cut(frame, crop), video=self.video))]
        chunk = chunk_of(frame, len(self.frames), self._depth)
        encoded = self.engine.encode_together([self._cut(number, crop) for number in chunk])
        # the last chunk of a stack reaches back to be whole; the slices that it borrows belong to
        # the chunk before
        first = frame // self._depth * self._depth
        return [pair for pair in zip(chunk, encoded, strict=True) if pair[0] >= first]

    def _cut(self, frame: int, crop: Crop) -> NDArray[np.uint8]:
        return np.ascontiguousarray(crop.cut(self.frames[frame]))


def chunk_of(frame: int, length: int, depth: int) -> range:
    """The slices that pass the encoder together with one: the stack in chunks, the last one shifted
    to be whole.
    """
    depth = min(depth, length)
    start = min(frame // depth * depth, length - depth)
    return range(start, start + depth)
