"""Segmenting in one call: names, progress, cancelling, and rules by name."""

from __future__ import annotations

import numpy as np
import pytest

from segscope.errors import Cancelled, PromptError, UsageError
from segscope.models.engine import Engine
from segscope.prompts import Box
from segscope.session import segment
from segscope.stack import Stack

DISC = Box((10, 20, 30, 40))


def test_names_and_progress(sam2: Engine, clip: Stack) -> None:
    steps: list[tuple[int, int]] = []
    masks = segment(
        clip, sam2, [DISC], names={1: "disc"}, progress=lambda *step: steps.append(step)
    )
    assert masks.names == {1: "disc"}
    assert steps == [(number, 8) for number in range(1, 9)]


def test_cancelling_returns_nothing(sam2: Engine, clip: Stack) -> None:
    with pytest.raises(Cancelled, match="1 of 8 frames"):
        segment(clip, sam2, [DISC], cancel=lambda: True)


def test_without_prompts_or_with_unknown_rules_it_is_refused(sam2: Engine, clip: Stack) -> None:
    with pytest.raises(PromptError, match="nothing to segment"):
        segment(clip, sam2, [])
    with pytest.raises(UsageError, match='rules are "auto"'):
        segment(clip, sam2, [DISC], rules="strict")


def test_a_video_goes_forward_and_a_volume_both_ways(sam2: Engine, clip: Stack) -> None:
    middle = Box((22, 20, 42, 40), frame=3)
    assert {frame for frame, _ in segment(clip, sam2, [middle]).scores} == set(range(3, 8))
    volume = Stack.from_array(np.stack([clip[index] for index in range(8)]))
    assert volume.kind == "volume"
    frames = {frame for frame, _ in segment(volume, sam2, [middle], rules=None).scores}
    assert frames == set(range(8))
