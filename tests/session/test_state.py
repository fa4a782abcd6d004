"""The state that commands work on."""

from __future__ import annotations

import numpy as np
import pytest

from segscope.errors import UsageError
from segscope.models.engine import Engine
from segscope.prompts import Box, MaskPrompt
from segscope.session import Interaction
from segscope.stack import Stack

DISC = Box((10, 20, 30, 40))


def test_a_checkpoint_brings_back_objects(sam2: Engine, clip: Stack) -> None:
    with Interaction(clip, sam2) as work:
        work.add(DISC)
        checkpoint = work.state.checkpoint()
        work.add(Box((59, 6, 71, 18), object_id=2))
        work.remove(1)
        work.state.restore(checkpoint)
        assert list(work.state.objects) == [1]
        work.state.reset()
        assert work.state.objects == {}


def test_what_happens_in_a_scratch_copy_stays_there(sam2: Engine, clip: Stack) -> None:
    with Interaction(clip, sam2) as work:
        work.add(DISC)
        before = dict(work.state.objects)
        scratch = work.state.scratch_copy()
        scratch.unshare({1})
        scratch.answer([Box((59, 6, 71, 18)), Box((59, 6, 71, 18), object_id=2)], {})
        assert work.state.objects == before
        assert set(scratch.objects) == {1, 2}
        assert len(work.state.objects[1].prompts[0]) == 1


def test_composed_masks_do_not_overlap(sam2: Engine, clip: Stack) -> None:
    mask = clip[0] > 100
    with Interaction(clip, sam2) as work:
        work.add(MaskPrompt(mask), MaskPrompt(mask, object_id=2))
        composed = work.state.compose_masks(work.state.objects, 0)
        assert sum(int(runs[1::2].sum()) for runs in composed.values()) == int(mask.sum())
        assert work.state.compose_masks(work.state.objects, 0) is composed


def test_missing_objects_and_masks_are_named(sam2: Engine, clip: Stack) -> None:
    with Interaction(clip, sam2) as work:
        work.add(DISC)
        with pytest.raises(UsageError, match=r"no object 4; there are \[1\]"):
            work.state.object(4)
        with pytest.raises(UsageError, match="object 1 has no mask on frame 3"):
            work.state.result(3, 1)
        assert np.array_equal(work.state.result(0, 1).runs, work.objects[1].answers[0].runs)
