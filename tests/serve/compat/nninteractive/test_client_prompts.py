"""Prompts in the axes of the client's array become prompts on slices."""

from __future__ import annotations

import numpy as np
import pytest

from segscope.errors import UsageError
from segscope.prompts import Box, MaskPrompt, Point
from segscope.serve.compat.nninteractive.client_prompts import (
    MAX_SLICES,
    PromptTarget,
    box_prompt,
    click_prompts,
    drawn_slices,
    initial_prompts,
    place_drawing,
    point_prompt,
)

SHAPE = (6, 40, 50)


@pytest.mark.parametrize(
    ("axis", "expected"),
    [(0, (12.5, 7.5, 3)), (1, (12.5, 3.5, 7)), (2, (7.5, 3.5, 12))],
)
def test_a_voxel_is_a_click_in_the_centre_of_its_pixel(
    axis: int, expected: tuple[float, float, int]
) -> None:
    point = point_prompt([3, 7, 12], PromptTarget(2, axis, positive=False))
    assert point == Point(*expected, object_id=2, positive=False)


def test_a_box_lies_on_its_slice_or_the_middle_one() -> None:
    target = PromptTarget(1, 0)
    assert box_prompt([[2, 3], [10, 25], [35, 15]], target) == Box((15, 10, 35, 25), 2, 1)
    assert box_prompt([[1, 5], [10, 25], [15, 35]], target) == Box((15, 10, 35, 25), 3, 1)


def test_a_negative_box_and_one_seen_edge_on_are_clicks() -> None:
    negative = PromptTarget(1, 0, positive=False)
    centre = Point(25.0, 17.5, 2, 1, positive=False)
    assert box_prompt([[2, 3], [10, 25], [15, 35]], negative) == centre
    assert isinstance(box_prompt([[2, 5], [10, 11], [15, 35]], PromptTarget(1, 0)), Point)


def test_a_drawing_may_be_sent_inside_its_box() -> None:
    drawing = np.ones((1, 2, 3), bool)
    placed = place_drawing(drawing, [[2, 3], [4, 6], [5, 8]], SHAPE)
    assert placed.shape == SHAPE
    assert placed[2, 4:6, 5:8].all()
    assert placed.sum() == 6
    with pytest.raises(UsageError, match="drawing"):
        place_drawing(drawing, [[2, 3], [4, 6], [5, 60]], SHAPE)
    with pytest.raises(UsageError, match="three pairs"):
        place_drawing(drawing, [[2, 3]], SHAPE)


def test_drawings_across_many_slices_are_thinned_out() -> None:
    drawing = np.zeros((12, 9, 9), bool)
    drawing[1:11, 2:5, 2:5] = True
    frames = list(drawn_slices(drawing, 0))
    assert len(frames) == MAX_SLICES
    assert (frames[0], frames[-1]) == (1, 10)
    with pytest.raises(UsageError, match="empty"):
        drawn_slices(np.zeros((3, 9, 9), bool), 0)


def test_clicks_lie_inside_and_far_from_each_other() -> None:
    region = np.zeros((40, 50), bool)
    region[10:14, 5:45] = True
    clicks = click_prompts(region, 3, PromptTarget(1, 0))
    places = [(int(click.y), int(click.x)) for click in clicks if isinstance(click, Point)]
    assert all(region[place] for place in places)
    assert max(x for _, x in places) - min(x for _, x in places) > 30


def test_an_initial_segmentation_is_a_mask_a_slice() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:4, 10:20, 10:20] = 3
    prompts = initial_prompts(labels, SHAPE, PromptTarget(4, 0))
    assert [(prompt.frame, prompt.object_id) for prompt in prompts] == [(2, 4), (3, 4)]
    assert all(isinstance(prompt, MaskPrompt) for prompt in prompts)
    with pytest.raises(UsageError, match="shape"):
        initial_prompts(labels[1:], SHAPE, PromptTarget(4, 0))
