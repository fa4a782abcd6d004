"""Estimates: how many steps and validations fit into a budget."""

from __future__ import annotations

import pytest

from segscope.adapt.training.estimate import VALIDATIONS, Estimate


def test_a_run_costs_its_steps_and_validations() -> None:
    estimate = Estimate(0.5, 1.0, 10, 2.0, 0, steps=20, validations=3)
    assert estimate.seconds == pytest.approx(20 * 0.5 + 10 * 1.0 + 3 * 2.0)


def test_fitting_steps_take_no_longer_than_the_budget() -> None:
    estimate = Estimate(0.1, 0.4, 50, 1.0, 0)
    for minutes in (0.5, 1.0, 5.0):
        steps = estimate.fitting(minutes)
        cost = steps * 0.1 + min(steps, 50) * 0.4 + estimate.validations * 1.0
        assert cost <= 60 * minutes


def test_there_are_twenty_steps_at_least() -> None:
    assert Estimate(10.0, 0.0, 0, 1.0, 0).fitting(0.1) == 20


def test_long_validations_are_fewer() -> None:
    assert Estimate(0.1, 0.0, 0, 1.0, 0).limit_validations(10).validations == 1 + VALIDATIONS
    assert Estimate(0.1, 0.0, 0, 3.0, 0).limit_validations(1).validations == 5
    assert Estimate(0.1, 0.0, 0, 60.0, 0).limit_validations(1).validations == 3
