"""Which weights are saved, and the gain that is claimed for them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from segscope.adapt.validation.selection import choose_weights, cross_fit_gain, table_of

LUCKY = np.full((3, 5), 0.5) + np.array(
    [[0, 0, 0, 0, 0], [0.2, 0, 0, 0, 0.02], [-0.1, 0.03, 0.03, 0.03, 0.03]]
)
"""The first patient alone gains by the first network; the others would choose the second for it."""


def test_the_largest_gain_wins() -> None:
    base = np.array([0.5, 0.6, 0.7, 0.8])
    assert choose_weights(np.array([base, base + 0.1, base + 0.2, base + 0.15])) == 2


def test_the_base_is_kept_unless_a_gain_exceeds_its_standard_error() -> None:
    base = np.array([0.5, 0.6, 0.7, 0.8])
    lucky = base + np.array([0.4, -0.1, -0.1, -0.05])  # one patient gains, the others lose
    assert choose_weights(np.array([base, lucky])) == 0
    gain = cross_fit_gain(np.array([base, lucky]))
    assert gain.base_saved
    assert gain.after == gain.before == pytest.approx(0.65)
    assert "no gain shown" in gain.text
    assert "equals the base" in gain.text


def test_a_steady_gain_is_claimed() -> None:
    base = np.linspace(0.4, 0.8, 8)
    better = base + np.linspace(0.08, 0.12, 8)
    gain = cross_fit_gain(np.array([base, better]))
    assert gain.difference == pytest.approx(0.1)
    assert gain.interval.low < 0.1 < gain.interval.high
    assert gain.significant
    assert gain.text.startswith("gain +0.100 on 8 patients who did not choose the step (95 %")
    assert json.loads(json.dumps(gain.as_dict(), allow_nan=False))["significant"]


def test_luck_is_not_claimed() -> None:
    """Networks that gain nothing: the best validation looks like a gain, the claim does not."""
    rng = np.random.default_rng(0)
    gains = []
    naive = []
    for _ in range(400):
        base = rng.uniform(0.6, 0.9, 8)
        run = base + rng.normal(0, 0.03, 8)  # what all steps of a run have in common
        scores = np.array([base, *(run + rng.normal(0, 0.02, 8) for _ in range(10))])
        gains.append(cross_fit_gain(scores))
        naive.append(max(0.0, scores.mean(1).max() - base.mean()))
    assert np.mean(naive) > 0.01
    assert abs(np.mean([gain.difference for gain in gains])) < 0.005
    assert np.mean([gain.base_saved for gain in gains]) > 0.75


def test_a_patient_does_not_choose_what_it_is_scored_with() -> None:
    base = np.full(5, 0.5)
    first = base + np.array([0.4, 0.1, 0.1, 0.1, 0.1])
    second = base + np.array([0.0, 0.12, 0.13, 0.12, 0.11])
    scores = np.array([base, first, second])
    assert choose_weights(scores) == 1
    # without the first patient, the others choose the second network
    assert cross_fit_gain(scores).difference == pytest.approx((0.0 + 4 * 0.1) / 5)


def test_the_base_is_kept_where_only_those_who_chose_gain() -> None:
    assert choose_weights(LUCKY) == 1
    gain = cross_fit_gain(LUCKY)
    assert gain.base_saved
    assert gain.difference == 0
    assert "on patients who did not choose it" in gain.text


@pytest.mark.parametrize("patients", [2, 4])
def test_few_patients_show_no_gain(patients: int) -> None:
    base = np.full(patients, 0.5)
    gain = cross_fit_gain(np.array([base, base + 0.2]))
    assert gain.difference == pytest.approx(0.2)
    assert not gain.significant
    assert gain.text.startswith("no gain shown: gain +0.200")
    assert "too few patients" in gain.text


def test_one_patient_cannot_judge_its_own_choice() -> None:
    gain = cross_fit_gain(np.array([[0.5], [0.9]]))
    assert choose_weights(np.array([[0.5], [0.9]])) == 1
    assert math.isnan(gain.after)
    assert gain.text == "no gain shown: the only validation patient also chose the step"
    assert gain.as_dict()["after"] is None


def test_patients_without_a_score_are_left_out() -> None:
    scores = table_of([{"a": 0.5, "b": 0.4}, {"a": 0.7, "b": 0.7, "c": 0.1}])
    assert scores.shape == (2, 3)
    assert choose_weights(scores) == 1
    assert cross_fit_gain(scores).patients == 2
