from __future__ import annotations

import numpy as np
import pytest
from support.evaluation_engine import Bright

from segscope.errors import Cancelled, UsageError
from segscope.models.segmenter import Segmenter
from segscope.predict import everything
from segscope.session import Interaction
from segscope.stack import Stack


def test_a_network_without_prompts_gives_its_classes_on_every_frame() -> None:
    frames = np.full((3, 8, 9), 40, np.uint8)
    frames[1:, 2:5, 3:7] = 200
    stack = Stack.from_array(frames, spacing_zyx_mm=(2, 1, 1))
    network = Bright("bright")
    assert isinstance(network, Segmenter)
    done: list[tuple[int, int]] = []
    masks = everything(stack, network, window="p0,100", progress=lambda *now: done.append(now))
    assert masks.names == {1: "body"}
    assert np.array_equal(masks.of(1), frames == 200)
    assert masks.geometry is stack.geometry
    assert masks.record["engine"]["model"] == "bright"
    assert done == [(1, 3), (2, 3), (3, 3)]


def test_it_takes_no_prompts() -> None:
    with pytest.raises(UsageError, match="takes no prompts: it segments body without them"):
        Interaction(Stack.from_array(np.zeros((8, 9), np.uint8)), Bright("bright"))


def test_it_can_be_stopped() -> None:
    with pytest.raises(Cancelled):
        everything(
            Stack.from_array(np.zeros((8, 9), np.uint8)), Bright("bright"), cancel=lambda: True
        )
