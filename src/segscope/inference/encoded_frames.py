"""Features of frames and windows: each is encoded once while it is in the cache."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from segscope.inference.crop import Crop
from segscope.models.engine import Engine, Features

LEAST_ENTRIES = 4  # stay in the cache, however large they are


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
    """

    def __init__(
        self, engine: Engine, frames: RenderedFrames, *, video: bool, limit_bytes: int = 64 * 2**20
    ) -> None:
        self.engine = engine
        self.frames = frames
        self.video = video
        self.encoded = 0
        self._depth = min(engine.chunk_depth, len(frames))
        self._limit = limit_bytes
        self._bytes = 0
        self._cache: OrderedDict[tuple[int, Crop], Features] = OrderedDict()

    @property
    def held_bytes(self) -> int:
        """Memory that the cache takes."""
        return self._bytes

    def get(self, frame: int, crop: Crop) -> Features:
        """Features of one crop of one frame, computed at most once while they are in the cache."""
        key = (frame, crop)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        for number, features in self._encode(frame, crop):
            replaced = self._cache.pop((number, crop), None)
            if replaced is not None:
                self._bytes -= replaced.bytes
            self._cache[number, crop] = features
            self._bytes += features.bytes
            self.encoded += 1
        self._cache.move_to_end(key)
        features = self._cache[key]
        while self._bytes > self._limit and len(self._cache) > max(LEAST_ENTRIES, self._depth):
            _, oldest = self._cache.popitem(last=False)
            self._bytes -= oldest.bytes
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
