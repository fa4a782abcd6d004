"""Curves over rounds, against sums by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest
from support.result_rows import HEADER, result_row

from segscope.evaluate.summary import summarise


def test_curves_hold_the_last_value_and_count_clicks() -> None:
    two, three = (0.5, 0.95), (0.1, 0.2, 0.3)
    rows = [result_row(value, prompt="clicks:3", round=k) for k, value in enumerate(two, 1)]
    rows += [
        result_row(value, prompt="clicks:3", round=k, case="d", group="h")
        for k, value in enumerate(three, 1)
    ]
    (curve,) = [c for c in summarise(rows, HEADER, [], {}).curves if c["dataset"] == "one"]
    assert curve["dice"] == pytest.approx([0.3, 0.575, 0.625])
    assert curve["noc@0.9"] == pytest.approx((2 + 3) / 2)
    assert curve["auc"] == pytest.approx(
        ((0.5 + 0.95) / 2 + 0.95 + (0.1 + 0.2) / 2 + (0.2 + 0.3) / 2) / 2 / 2
    )


def test_the_challenge_is_scored_as_it_was() -> None:
    """Two classes; class two has no box round of its own figure but the same rounds."""
    curves = {"0:1": (0.1, 0.2, 0.4, 0.6, 0.8, 1.0), "0:2": (0.0, 0.0, 0.2, 0.4, 0.4, 0.6)}
    rows = [
        result_row(
            0.0,
            kind="volume",
            prompt="box3d.mid+clicks.cc3d:5",
            object=name,
            round=k,
            challenge_dice=value,
            challenge_nsd=value / 2,
        )
        for name, values in curves.items()
        for k, value in enumerate(values, 1)
    ]
    (found,) = summarise(rows, {"protocol": {"cvpr25": True}, "models": {}}, [], {}).challenge
    mean = [(a + b) / 2 for a, b in zip(*curves.values(), strict=True)]
    assert found["dice_first"] == pytest.approx(mean[0])
    assert found["dice_auc"] == pytest.approx(sum((a + b) / 2 for a, b in pairwise(mean[1:])))
    assert found["dice_final"] == pytest.approx(0.8)
    assert found["nsd_auc"] == pytest.approx(found["dice_auc"] / 2)


def test_a_run_over_time_scores_nothing() -> None:
    rows = [
        result_row(
            0.0,
            kind="volume",
            prompt="box3d.mid+clicks.cc3d:5",
            round=k,
            challenge_dice=0.9,
            challenge_nsd=0.9,
            seconds=20.0,
        )
        for k in range(1, 7)
    ]
    (found,) = summarise(rows, {"protocol": {"cvpr25": True}, "models": {}}, [], {}).challenge
    assert (found["dice_auc"], found["dice_final"]) == (0, 0)
