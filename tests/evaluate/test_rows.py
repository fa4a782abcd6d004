"""Grouping of rows."""

from __future__ import annotations

import math

import pytest
from support.result_rows import result_row

from segscope.errors import UsageError
from segscope.evaluate.rows import (
    by_dataset,
    depends_on_scale,
    describe_metric,
    gain,
    last_rounds,
    mean,
    mean_of,
    metrics_of,
    rounds_of_rollouts,
    to_plain,
)


def test_the_last_round_of_a_rollout_counts() -> None:
    rows = [result_row(0.5 + 0.1 * number, round=number) for number in (2, 3, 1)]
    rows += [{**result_row(0.9), "object": "all"}, {"failed": "unreadable"}]
    assert [row["round"] for row in last_rounds(rows)] == [3]
    assert [row["round"] for row in rounds_of_rollouts(rows[:3])[0]] == [1, 2, 3]


def test_patients_of_different_sets_are_different() -> None:
    rows = [result_row(0.2), result_row(0.8, dataset="two")]
    assert list(by_dataset(rows)) == ["one", "two"]
    assert mean(rows, "dice").n_groups == 2


def test_a_gain_is_that_of_equal_answers() -> None:
    before = [result_row(0.2, case=str(case), group=str(case)) for case in range(4)]
    after = [result_row(0.5, case=str(case), group=str(case)) for case in range(2, 6)]
    result = gain(before, after, "dice")
    assert (result.n, result.mean) == (2, pytest.approx(0.3))


def test_columns_of_scores_are_told_from_others() -> None:
    row = {**result_row(0.5), "hd95": 3.0, "dice@propagated": 0.4}
    assert metrics_of([row]) == ["dice", "hd95", "dice@propagated"]
    assert metrics_of([]) == []
    assert describe_metric("dice@prompted").higher_is_better
    assert [name for name in ("dice", "hd95", "nsd@2") if depends_on_scale(name)] == [
        "hd95",
        "nsd@2",
    ]
    with pytest.raises(UsageError):
        describe_metric("seconds")


def test_nan_is_no_number_for_means_and_for_json() -> None:
    assert mean_of([math.nan, 1.0, 2.0]) == 1.5
    assert math.isnan(mean_of([math.nan]))
    assert to_plain({"a": (1, math.nan, [math.inf])}) == {"a": [1, None, [None]]}
