from __future__ import annotations

import numpy as np
import pytest
import torch
from support.observations import observe

from segscope.inference.learning.head import fit_head
from segscope.inference.learning.sizes import LEAST_LOG, ExampleSizes
from segscope.models.engine import DecoderPrompt, WindowRule

CLICK = DecoderPrompt(np.array([[200.0, 200.0]]), np.ones(1, bool))
FRAME = (400, 400)


def sizes_of(*sides: float) -> ExampleSizes:
    head = fit_head([observe(seed) for seed in range(len(sides))])
    object.__setattr__(head, "longer_sides", torch.tensor(sides))
    return ExampleSizes.of(head)


def square(side: float) -> tuple[float, float, float, float]:
    return (0.0, 0.0, side, side)


class TestLikelihood:
    def test_the_usual_size_is_likeliest(self) -> None:
        sizes = sizes_of(40, 50, 60)
        assert sizes.usual == pytest.approx(50)
        assert sizes.log_likelihood(square(50)) == pytest.approx(0)
        assert sizes.log_likelihood(square(25)) == pytest.approx(sizes.log_likelihood(square(100)))
        assert sizes.log_likelihood(square(100)) < sizes.log_likelihood(square(70)) < 0

    def test_it_has_a_floor(self) -> None:
        sizes = sizes_of(*[50.0] * 20)
        assert sizes.log_likelihood(square(5000)) == LEAST_LOG
        assert sizes.log_likelihood(None) == LEAST_LOG

    def test_more_examples_of_one_size_are_surer(self) -> None:
        spreads = [sizes_of(*[50.0] * count).spread for count in (1, 3, 10)]
        assert spreads[0] > spreads[1] > spreads[2] > 0.2

    def test_unlike_examples_are_less_sure(self) -> None:
        assert sizes_of(20, 50, 120).spread > 2 * sizes_of(48, 50, 52).spread

    def test_rejected_objects_do_not_count(self) -> None:
        rejected = observe(2, counts=(0, 30, 50))
        assert rejected.is_empty
        head = fit_head([observe(0), observe(1), rejected])
        assert ExampleSizes.of(head).count == 2


class TestWindows:
    RULE = WindowRule()

    def sides(self, sizes: ExampleSizes) -> list[int]:
        return [max(crop.size_hw) for crop in sizes.list_windows(self.RULE, CLICK, FRAME)]

    def test_what_would_show_an_object_too_small_is_left_out(self) -> None:
        assert self.sides(sizes_of(*[20.0] * 10)) == [100, 50, 33]

    def test_what_cannot_hold_an_object_is_left_out(self) -> None:
        assert self.sides(sizes_of(*[200.0] * 10)) == [400, 200]

    def test_no_window_joins_where_one_of_the_rule_is_near(self) -> None:
        assert self.sides(sizes_of(60)) == [400, 200, 100, 50]

    def test_small_frames_give_windows_too(self) -> None:
        click = DecoderPrompt(np.array([[4.0, 4.0]]), np.ones(1, bool))
        crops = sizes_of(500).list_windows(self.RULE, click, (8, 8))
        assert [crop.size_hw for crop in crops] == [(8, 8)]
