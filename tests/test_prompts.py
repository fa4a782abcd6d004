"""Prompts: what they promise, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.inputs import masks_2d, scribbles

from segscope.errors import PromptError
from segscope.prompts import Box, MaskPrompt, Point, Prompt, Scribble, check_prompts


@pytest.mark.parametrize(
    "make",
    [
        lambda: Point(np.nan, 1),
        lambda: Point(1, np.inf),
        lambda: Point(1, 1, frame=-1),
        lambda: Point(1, 1, object_id=0),
        lambda: Point(1, 1, object_id=65536),
        lambda: Box((5, 5, 5, 9)),
        lambda: Box((5, 5, 4, 9)),
        lambda: Box((1, 2, 3)),
        lambda: Box((1, 2, 3, np.nan)),
        lambda: Scribble(()),
        lambda: Scribble(((np.nan, 1),)),
        lambda: Scribble(((1, 1),), width=0),
        lambda: Scribble(((1, 1),), width=np.nan),
        lambda: MaskPrompt(np.zeros(4, bool)),
        lambda: MaskPrompt(np.full((3, 3), np.nan)),
        lambda: MaskPrompt(np.ones((3, 3)), score=1.1),
        lambda: MaskPrompt(np.ones((3, 3)), score=float("nan")),
        lambda: Box.around(np.zeros((3, 3), bool)),
    ],
)
def test_prompts_that_cannot_be_meant_are_refused(make: Any) -> None:
    with pytest.raises(PromptError):
        make()


@pytest.mark.parametrize(
    "prompt",
    [
        Point(50.5, 5),
        Point(5, -0.1),
        Box((50, 0, 60, 10)),
        Box((-5, -5, 0, 0)),
        Scribble(((5, 5), (51, 5))),
        MaskPrompt(np.ones((50, 40))),
        Point(5, 5, frame=3),
    ],
)
def test_prompts_outside_the_stack_are_refused(prompt: Prompt) -> None:
    with pytest.raises(PromptError):
        check_prompts([prompt], (3, 40, 50))


def test_prompts_on_the_edge_are_inside() -> None:
    check_prompts(
        [Point(50, 40), Point(0, 0), Box((-5, -5, 1, 1)), MaskPrompt(np.ones((40, 50)))],
        (1, 40, 50),
    )


@given(masks_2d)
def test_the_tight_box_holds_the_mask_and_no_more(mask: NDArray[np.bool_]) -> None:
    if not mask.any():
        return
    x0, y0, x1, y1 = (int(value) for value in Box.around(mask).xyxy)
    inner = mask[y0:y1, x0:x1]
    assert inner.sum() == mask.sum()
    assert all(edge.any() for edge in (inner[0], inner[-1], inner[:, 0], inner[:, -1]))


@given(scribbles, st.integers(1, 20))
def test_a_scribble_gives_as_many_clicks_as_asked(scribble: Scribble, count: int) -> None:
    clicks = scribble.points(count)
    assert len(clicks) == (count if len(scribble.xy) > 1 else 1)
    low, high = np.min(scribble.xy, axis=0), np.max(scribble.xy, axis=0)
    slack = 1e-6 * (1 + np.abs(scribble.xy).max())
    assert all(
        low[0] - slack <= click.x <= high[0] + slack
        and low[1] - slack <= click.y <= high[1] + slack
        for click in clicks
    )
    assert all(click.positive == scribble.positive for click in clicks)


def test_a_mask_prompt_cannot_be_changed_from_outside() -> None:
    mask = np.ones((3, 3), bool)
    prompt = MaskPrompt(mask)
    mask[:] = False
    assert prompt.mask.all()
