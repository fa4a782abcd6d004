from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.observations import CHANNELS, observe

from segscope.inference.crop import Crop
from segscope.inference.learning.candidates import CANDIDATES, SHARES_OF_GLOBAL, add_up
from segscope.inference.learning.guard import (
    PROMPTED,
    GuardRule,
    answer_window,
    can_help,
    expect_gains,
)
from segscope.inference.learning.head import SessionHead, fit_head
from segscope.inference.learning.likeness import (
    Descriptions,
    describe_shape,
    feature_distances,
    shape_distances,
)
from segscope.inference.learning.overlap import cells_of, dice
from segscope.inference.learning.window import CELLS, SIDE, HeadWindow

FRAME = (128, 128)


def fit(count: int = 5, signal: float = 2.5) -> SessionHead:
    return fit_head([observe(seed, signal=signal, network=0.7) for seed in range(count)])


def make_window(offset: float = 0.0) -> tuple[HeadWindow, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A window whose first feature shows a disc that the network half misses; `offset` moves all
    features away from those of `observe`.
    """
    window = HeadWindow(Crop(32, 32, 96, 96, FRAME), (42, 42, 86, 86))
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    truth = torch.from_numpy(np.hypot(y - 32, x - 32) < 20).flatten()
    cells = torch.from_numpy(rng.normal(size=(CELLS, CHANNELS)).astype(np.float32))
    cells[:, 0] += torch.where(truth, 2.5, -2.5)
    left = torch.from_numpy(x.flatten() < 34)
    own = torch.where(truth & left, 1.0, -1.0) + torch.randn(
        CELLS, generator=torch.Generator().manual_seed(0)
    )
    return window, cells + offset, own, truth


def score(mask: torch.Tensor, truth: torch.Tensor) -> float:
    return float(dice(mask[None], truth, torch.ones(CELLS))[0])


class TestAnswers:
    def test_a_window_like_the_examples_gets_a_better_answer(self) -> None:
        window, cells, own, truth = make_window()
        learned = answer_window(fit(), window, cells, own, GuardRule(farthest=9.0))
        assert learned is not None
        assert score(learned.logits > 0, truth) > score(own > 0, truth) + 0.1
        assert 0 < learned.gain < 1

    def test_a_window_unlike_all_examples_gets_the_plain_answer(self) -> None:
        window, cells, own, _ = make_window(offset=20.0)
        assert answer_window(fit(), window, cells, own) is None

    def test_examples_that_gained_nothing_give_the_plain_answer(self) -> None:
        window, cells, own, _ = make_window()
        head = fit()
        useless = replace(head, gains=torch.zeros_like(head.gains))
        assert answer_window(useless, window, cells, own, GuardRule(farthest=9.0)) is None
        assert not can_help(useless, PROMPTED)
        assert can_help(head, PROMPTED)

    def test_a_single_example_gives_the_plain_answer(self) -> None:
        window, cells, own, _ = make_window()
        assert answer_window(fit(1), window, cells, own, GuardRule(farthest=9.0)) is None

    def test_more_can_be_asked(self) -> None:
        window, cells, own, _ = make_window()
        strict = GuardRule(least_gain=0.9, farthest=9.0)
        assert answer_window(fit(), window, cells, own, strict) is None


class TestExpectedGains:
    def test_near_examples_count_most(self) -> None:
        head = fit(2)
        gains = torch.zeros(2, CANDIDATES).double()
        gains[0] = 0.4
        head = replace(head, gains=gains, changes=torch.full_like(gains, 0.2))
        near_first = expect_gains(head, torch.tensor([0.0, 4.0]).double(), head.changes[0])
        near_second = expect_gains(head, torch.tensor([4.0, 0.0]).double(), head.changes[0])
        assert float(near_first[0]) > 0.2
        assert float(near_second[0]) < 0

    def test_larger_changes_cost_more_and_surprising_ones_most(self) -> None:
        head = fit(3)
        usual = torch.full_like(head.gains, 0.2)
        head = replace(head, gains=torch.full_like(head.gains, 0.1), changes=usual)
        squares = torch.zeros(3).double()
        changes = torch.linspace(0, 0.9, CANDIDATES).double()
        gains = expect_gains(head, squares, changes)
        steps = gains.diff()
        assert bool((steps < 0).all())
        assert float(steps[-1]) < 2 * float(steps[0])

    def test_far_examples_promise_little(self) -> None:
        head = fit(3)
        head = replace(head, gains=torch.full_like(head.gains, 0.3))
        changes = torch.zeros(CANDIDATES).double()
        gains = [expect_gains(head, torch.full((3,), d**2).double(), changes)[0] for d in (0, 1, 2)]
        assert float(gains[0]) > float(gains[1]) > float(gains[2]) > 0


class TestCandidates:
    def test_they_are_sums_of_network_and_ridges(self) -> None:
        own = torch.tensor([1.0, -2.0])
        whole = torch.tensor([0.5, 3.0])
        local = torch.tensor([-1.0, 0.25])
        rows = add_up(own, whole, local)
        assert rows.shape == (CANDIDATES, 2)
        assert torch.equal(rows[1], own + whole)
        assert torch.equal(rows[len(SHARES_OF_GLOBAL) - 1], whole)
        assert torch.equal(rows[-1], local)


class TestLikeness:
    def test_an_example_is_nearest_to_itself(self) -> None:
        examples = [observe(seed) for seed in range(4)]
        head = fit_head(examples)
        for position, example in enumerate(examples):
            described = Descriptions.of_examples([example])
            features = feature_distances(head.descriptions, head.spread, described.means[0])
            shapes = shape_distances(head.descriptions, described.shapes[0])
            assert float(features[position]) == 0
            assert float(shapes[position]) == pytest.approx(0, abs=1e-6)
            assert int((features**2 + shapes**2).argmin()) == position

    def test_shapes_say_how_much_is_covered_and_how_surely(self) -> None:
        box = torch.ones(100).double()
        half = torch.where(torch.arange(100) < 50, 30.0, -30.0)
        sure = describe_shape(half, box, 20.0)
        unsure = describe_shape(half / 100, box, 20.0)
        twice = describe_shape(half, box, 40.0)
        assert float(sure[0]) == pytest.approx(0.5 * 10**0.5)
        assert float(sure[1]) == pytest.approx(30**0.5, rel=1e-3)
        assert float(unsure[1]) < 0.7 * float(sure[1])
        assert float(twice[2] - sure[2]) == pytest.approx(np.log(2) * 0.1**0.5)

    def test_a_network_that_finds_nothing_has_a_shape(self) -> None:
        shape = describe_shape(torch.full((10,), -50.0), torch.ones(10).double(), 0.0)
        assert bool(shape.isfinite().all())


def test_sampled_cells_stand_for_all_cells() -> None:
    example = observe(counts=(40, 30, 20))
    assert float(cells_of(example).sum()) == pytest.approx(sum(example.counts))


def test_two_empty_masks_overlap_fully() -> None:
    nothing = torch.zeros(1, 5, dtype=torch.bool)
    assert dice(nothing, nothing[0], torch.ones(5)).tolist() == [1.0]
