"""The base of frame sources: shape, type and length from the header, and no frame outside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from segscope.arrays import Pixels
from segscope.io.frame_source import LazyFrames
from segscope.stack import Stack


class Numbered(LazyFrames):
    """Frames full of their own number; remembers which were read."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape, np.dtype(np.int16))
        self.requests: list[int] = []

    def read_frame(self, index: int) -> Pixels:
        self.requests.append(index)
        return np.full(self.shape[1:], index, self.dtype)


def test_it_is_a_source_of_a_stack() -> None:
    frames = Numbered((3, 4, 5))
    stack = Stack(frames, "volume")
    assert (stack.shape_zyx, len(stack), frames.dtype) == ((3, 4, 5), 3, np.int16)
    assert frames.requests == [], "shape and type cost no decoding"
    assert (stack[2] == 2).all()
    assert frames.requests == [2]


@pytest.mark.parametrize("index", [-1, 3, 100])
def test_a_frame_outside_is_an_index_error(index: int) -> None:
    frames = Numbered((3, 4, 5))
    with pytest.raises(IndexError, match=f"no frame {index}; frames are numbered 0 to 2"):
        frames[index]
    assert frames.requests == []


def test_iteration_ends() -> None:
    frames: Any = Numbered((4, 2, 2))  # iterable by its indices alone
    assert [int(frame[0, 0]) for frame in frames] == [0, 1, 2, 3]
