from __future__ import annotations

import numpy as np
from support.engines import make_engine

from segscope.inference.crop import Crop
from segscope.prompts import Box, MaskPrompt
from segscope.session import Interaction
from segscope.stack import Stack


def disc(x: float, size: int = 200) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return (columns - x) ** 2 + (rows - 100) ** 2 < 12**2


def test_tracking_looks_through_a_window_that_grows_when_needed() -> None:
    frames = np.stack([np.where(disc(40 + 8 * i), 200, 50).astype(np.uint8) for i in range(6)])
    with Interaction(Stack.from_array(frames, times_s=np.arange(6)), make_engine("mini")) as work:
        work.add(MaskPrompt(disc(40)))
        next(iter(work.propagate("forward")))
        first = memory_view(work, 1, 0)
        assert first.holds(Box.around(disc(40)).xyxy)
        assert max(first.size_hw) < 150
        work.add(MaskPrompt(disc(180), frame=5))
        next(iter(work.propagate("forward")))
        assert memory_view(work, 1, 0).holds((28, 88, 192, 112))


def memory_view(work: Interaction, object_id: int, frame: int) -> Crop:
    """The window that tracking of an object looked through."""
    memory = work.objects[object_id].answers[frame].memory
    assert memory is not None
    return memory.view


def test_objects_far_apart_have_windows_of_their_own_and_are_tracked_as_if_alone() -> None:
    frames = np.stack(
        [np.where(disc(20 + i) | disc(180 - i), 200, 50).astype(np.uint8) for i in range(4)]
    )
    stack = Stack.from_array(frames, times_s=np.arange(4))
    left, right = MaskPrompt(disc(20)), MaskPrompt(disc(180), object_id=2)
    found = {}
    for prompts in ((left, right), (left,), (right,)):
        with Interaction(stack, make_engine("mini"), overlap="keep") as work:
            work.add(*prompts)
            answers = [(one.frame, one.object_id, one.mask) for one in work.propagate("forward")]
            assert [frame for frame, _, _ in answers] == sorted(frame for frame, _, _ in answers)
            found[prompts] = {(frame, object_id): mask for frame, object_id, mask in answers}
    with Interaction(stack, make_engine("mini")) as work:
        work.add(left, right)
        next(iter(work.propagate("forward")))
        assert memory_view(work, 1, 0) != memory_view(work, 2, 0)
    alone = found[left,] | found[right,]
    assert found[left, right].keys() == alone.keys()
    assert all(np.array_equal(mask, alone[key]) for key, mask in found[left, right].items())


def test_objects_that_overlap_share_a_window() -> None:
    frames = np.stack([np.where(disc(95) | disc(105), 200, 50).astype(np.uint8)] * 2)
    with Interaction(Stack.from_array(frames, times_s=np.arange(2)), make_engine("mini")) as work:
        work.add(MaskPrompt(disc(95)), MaskPrompt(disc(105), object_id=2))
        next(iter(work.propagate("forward")))
        assert memory_view(work, 1, 0) == memory_view(work, 2, 0)
