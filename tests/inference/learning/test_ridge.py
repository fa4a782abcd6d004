from __future__ import annotations

import numpy as np
import pytest
import torch
from support.observations import observe

from segscope.inference.learning.example import Example
from segscope.inference.learning.ridge import (
    LEAST_SHARE,
    LEAST_SPREAD,
    WEIGHT,
    Ridge,
    Sums,
    add_sums,
    cell_weights,
    design,
    targets,
)


def fit(examples: list[Example], penalty: float) -> Ridge:
    origin = design(examples[0]).mean(0)
    sums = [Sums.of(each, origin) for each in examples]
    return Ridge.fit(add_sums(sums, torch.ones(len(sums))), origin, penalty)


def solve_directly(examples: list[Example], penalty: float) -> tuple[np.ndarray, float]:
    """Weights and constant by least squares on standardised rows, the penalty as further rows."""
    rows = torch.cat(list(map(design, examples))).numpy()
    wanted = torch.cat(list(map(targets, examples))).numpy()
    weights = torch.cat(list(map(cell_weights, examples))).numpy()
    mean = np.average(rows, axis=0, weights=weights)
    spread = np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=weights))
    scale = spread + LEAST_SPREAD + LEAST_SHARE * np.abs(mean)
    standard = (rows - mean) / scale
    middle = np.average(wanted, weights=weights)
    root = np.sqrt(weights)[:, None]
    strength = np.sqrt(penalty * weights.sum() / WEIGHT)
    left = np.concatenate([standard * root, strength * np.eye(rows.shape[1])])
    right = np.concatenate([(wanted - middle) * root[:, 0], np.zeros(rows.shape[1])])
    solution = np.linalg.lstsq(left, right, rcond=None)[0] / scale
    return solution, float(middle - mean @ solution)


@pytest.mark.parametrize("penalty", [0.3, 3.0, 300.0])
@pytest.mark.parametrize("count", [1, 4])
def test_sums_give_the_solution_of_least_squares(penalty: float, count: int) -> None:
    examples = [observe(seed) for seed in range(count)]
    ridge = fit(examples, penalty)
    weights, bias = solve_directly(examples, penalty)
    assert np.allclose(ridge.weights.numpy(), weights, rtol=1e-3, atol=1e-5)
    assert ridge.bias == pytest.approx(bias, rel=1e-3, abs=1e-5)


def test_an_example_that_counts_nothing_is_left_out() -> None:
    examples = [observe(seed) for seed in range(5)]
    origin = design(examples[0]).mean(0)
    sums = [Sums.of(each, origin) for each in examples]
    weights = torch.tensor([1.0, 1, 0, 1, 1])
    without = Ridge.fit(add_sums(sums, weights), origin, 3.0)
    again = fit(examples[:2] + examples[3:], 3.0)
    assert torch.equal(without.weights, again.weights)


def test_both_sides_of_every_example_count_alike() -> None:
    for counts in ((40, 30, 20), (1, 0, 500), (300, 2, 0)):
        example = observe(counts=counts)
        weights = cell_weights(example)
        inside = targets(example) > 0
        assert float(weights[inside].sum()) == pytest.approx(WEIGHT / 2)
        assert float(weights[~inside].sum()) == pytest.approx(WEIGHT / 2)


@pytest.mark.parametrize("size", [0.0, 1.0, 5e3, 6e4])
def test_features_that_never_change_are_ignored(size: float) -> None:
    features = np.random.default_rng(0).normal(size=(90, 6))
    features[:, 3:] = size
    ridge = fit([observe(seed, features=features) for seed in range(3)], 0.3)
    assert bool(ridge.weights.isfinite().all())
    assert float(ridge.weights[3:6].abs().max()) < 1e-6


def test_large_features_are_learned_as_well_as_small_ones() -> None:
    base = observe().cells.astype(np.float64)
    rows = design(observe())
    small = fit([observe(features=base)], 3.0)
    large = fit([observe(features=base * 8192)], 3.0)
    scaled = rows.clone()
    scaled[:, :6] *= 8192
    assert torch.allclose(large(scaled), small(rows), atol=0.01)


def test_equal_features_twice_do_not_break_the_solution() -> None:
    base = np.random.default_rng(0).normal(size=(90, 1))
    ridge = fit([observe(features=np.repeat(base, 6, axis=1))], 0.3)
    assert torch.allclose(ridge.weights[:6], ridge.weights[0].expand(6))


@pytest.mark.parametrize("counts", [(60, 0, 0), (0, 30, 30)])
def test_one_side_alone_gives_a_constant(counts: tuple[int, int, int]) -> None:
    example = observe(counts=counts)
    ridge = fit([example], 3.0)
    side = 1.0 if counts[0] else -1.0
    assert torch.allclose(ridge(design(example)), torch.full((60,), side).double())
