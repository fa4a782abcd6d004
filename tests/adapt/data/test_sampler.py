"""Examples: a function of step and place, and prompts that a base supports."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.adaptation import BOX, attached, sampler

from segscope.adapt import METHODS
from segscope.adapt.data.sampler import Sampler, drop_unsupported_plans
from segscope.adapt.data.training_set import Data
from segscope.adapt.training.settings import BOXES, MIX, TrainingSettings


@pytest.mark.parametrize("family", ["mini", "sam2"])
def test_examples_follow_from_step_and_place(family: str, data: Data) -> None:
    draws = sampler(attached(METHODS["full"], family), data, replace(BOX, augment=1.0, prompts=MIX))
    first = [draws.example(step, place) for step in range(4) for place in range(2)]
    again = [draws.example(step, place) for step in (3, 2, 1, 0) for place in (1, 0)][::-1]
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.rgb, other.rgb)
        assert np.array_equal(one.truth, other.truth)
        assert one.prompts == other.prompts
    assert len({example.source for example in first}) == 8  # eight images, each once
    assert all(example.truth[0, example.at].any() for example in first)
    assert all(example.truth.shape[-2:] == example.grid_hw for example in first)


def test_kept_views_come_again(data: Data) -> None:
    draws = sampler(
        attached(METHODS["decoder"], "mini"), data, replace(BOX, augment=1.0), variants=2
    )
    seen: dict[object, np.ndarray] = {}
    for step in range(24):
        example = draws.example(step, 0)
        assert np.array_equal(seen.setdefault(example.key, example.rgb), example.rgb)
    assert len(seen) < 17


def test_clips_run_both_ways_and_hold_the_prompted_frame(clips: Data) -> None:
    draws = Sampler(clips.train, clips.unlabelled, BOX, zoom=True, frames=3, grid=64)
    found = [draws.example(step, 0) for step in range(12)]
    assert {len(example.rgb) for example in found} == {3}
    assert {example.at for example in found} == {0, 1, 2}
    assert all(example.truth[0, example.at].any() for example in found)
    grows = {bool(example.truth[0, -1].sum() > example.truth[0, 0].sum()) for example in found}
    assert grows == {True, False}


def test_a_base_is_trained_on_prompts_that_it_understands() -> None:
    usual = TrainingSettings(steps=1)
    assert drop_unsupported_plans(usual, ("point", "box", "mask", "scribble")).prompts == MIX
    assert drop_unsupported_plans(usual, ("box",)).prompts == tuple(
        (weight, plan) for weight, plan in MIX if plan.startswith("b")
    )
    assert (
        drop_unsupported_plans(replace(usual, prompts=((1.0, "clicks:3"),)), ("box",)).prompts
        == BOXES
    )
