"""Steps of plans as text; whole plans are in test_plan.py."""

from __future__ import annotations

import pytest

from segscope.errors import UsageError
from segscope.simulate.plan_text import PlanStep, format_step, parse_step


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("clicks:5", PlanStep("click.rt", 5, ())),
        ("points:3,negatives=2", PlanStep("points.k", None, (("k", 3), ("negatives", "2")))),
        ("mask", PlanStep("mask.gt", None, ())),
    ],
)
def test_a_number_is_the_simulators_own_or_that_of_rounds(text: str, step: PlanStep) -> None:
    assert parse_step(text) == step
    assert parse_step(format_step(step.name, step.options, step.rounds)) == step


def test_a_number_may_only_come_first() -> None:
    with pytest.raises(UsageError, match="got '3'"):
        parse_step("clicks:most=1,3")
