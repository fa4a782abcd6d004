"""Clicks and boxes of MONAI Label's requests, in one slice or in all."""

from __future__ import annotations

import pytest

from segscope.errors import UsageError
from segscope.prompts import Box, Point
from segscope.serve.compat.monailabel.infer_params import number_pair, read_prompts
from segscope.serve.json_object import JsonObject

SHAPE = (7, 60, 80)


def test_clicks_are_centres_of_pixels_on_the_slice_of_the_first_one() -> None:
    params: JsonObject = {"foreground": [[10, 20, 3]], "background": [[5, 5, 3], [1, 1, 4]]}
    request = read_prompts(params, SHAPE, 2)
    assert request.prompts == [
        Point(10.5, 20.5, 3, 1, positive=True),
        Point(5.5, 5.5, 3, 1, positive=False),
    ]
    assert request.within is None


def test_the_slice_that_is_named_counts() -> None:
    params: JsonObject = {"slice": 4, "foreground": [[10, 20, 3], [1, 2, 4]]}
    assert [prompt.frame for prompt in read_prompts(params, SHAPE, 2).prompts] == [4]


def test_a_box_bounds_the_slices_of_a_volume() -> None:
    params: JsonObject = {"roi": [40, 20, 20, 40, 5, 1], "foreground": [[30, 30, 6], [30, 30, 2]]}
    request = read_prompts(params, SHAPE, 3)
    assert request.prompts[0] == Box((20, 20, 40, 40), 3, 1)
    assert request.within == (1, 5)
    assert [prompt.frame for prompt in request.prompts[1:]] == [2]


def test_a_single_image_has_one_slice_however_clients_count() -> None:
    request = read_prompts({"foreground": [[10, 20, 5]]}, (1, 60, 80), 3)
    assert request.prompts == [Point(10.5, 20.5, 0, 1, positive=True)]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"foreground": "here"}, "clicks"),
        ({"foreground": [[1]]}, "clicks"),
        ({"foreground": [[1, None, 2]]}, "clicks"),
        ({"roi": [1, 2, 3]}, "roi"),
        ({"roi": [1, 2, 3, 4, 50, 60]}, "outside"),
    ],
)
def test_anything_else_is_refused(params: JsonObject, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_prompts(params, SHAPE, 3)


def test_a_slice_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="'slice'"):
        read_prompts({"slice": 7}, SHAPE, 2)


def test_pairs_or_a_default() -> None:
    assert number_pair([1, 2.5], (0, 0)) == (1.0, 2.5)
    for value in (None, [1], ["a", "b"], {"a": 1}):
        assert number_pair(value, (0, 0)) == (0, 0)
