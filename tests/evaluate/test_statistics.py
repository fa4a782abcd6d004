"""Statements about scores: what holds for many patients, and what is said of none, one and two."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from segscope.errors import UsageError
from segscope.evaluate.statistics import (
    compare,
    correct_family,
    count_outcomes,
    holm,
    nested_mean,
    spread,
    summarise_metric,
)
from segscope.metrics.intervals import Interval, mean_interval


def test_the_unit_is_the_patient():
    result = summarise_metric([1.0, 1.0, 1.0, 0.0, 0.5, math.nan], ["a", "a", "a", "b", "c", "c"])
    assert (result.n, result.n_left_out, result.n_groups) == (5, 1, 3)
    assert (result.mean, result.median, result.sd) == (0.5, 0.5, 0.5)


def test_many_values_of_a_patient_do_not_narrow_the_interval():
    values = np.random.default_rng(0).normal(0.8, 0.1, 20)
    once, often = (
        summarise_metric(values, range(20)),
        summarise_metric(np.repeat(values, 50), np.repeat(range(20), 50)),
    )
    assert often.interval.low == pytest.approx(once.interval.low)
    assert often.interval.high == pytest.approx(once.interval.high)


def test_the_interval_does_not_depend_on_the_order_of_rows():
    values = np.random.default_rng(0).random(30)
    order = np.random.default_rng(1).permutation(30)
    assert summarise_metric(values, range(30)) == summarise_metric(values[order], order)


@pytest.mark.parametrize("patients", [0, 1, 2])
def test_few_patients_have_no_interval_but_a_reason(patients):
    values = [0.25, 0.75][:patients]
    result = summarise_metric(values, ["a", "b"][:patients])
    assert result.n == patients
    assert math.isnan(result.interval.low)
    assert math.isnan(result.interval.high)
    assert f"{patients} of 5" in result.interval.note
    assert math.isnan(result.mean) == (patients == 0)
    assert math.isnan(result.sd) == (patients < 2)


def test_nothing_but_nan_is_no_patient():
    result = summarise_metric([math.nan, math.nan], ["a", "b"])
    assert (result.n, result.n_left_out, result.n_groups) == (0, 2, 0)


def test_values_need_as_many_groups():
    with pytest.raises(UsageError):
        summarise_metric([1.0], [])


def test_a_comparison_pairs_what_both_were_asked():
    rng = np.random.default_rng(0)
    keys = [(f"case{case}", 1, prompt) for case in range(25) for prompt in ("box", "click")]
    second = {key: float(value) for key, value in zip(keys, rng.random(50), strict=True)}
    first = {key: value + float(rng.normal(0.05, 0.04)) for key, value in second.items()}
    groups = {key: key[0] for key in keys}
    expected = [
        np.mean([first[key] - second[key] for key in keys[i : i + 2]]) for i in range(0, 50, 2)
    ]
    first["extra", 1, "box"] = 1.0
    first[keys[0]] = math.nan
    expected[0] = first[keys[1]] - second[keys[1]]
    result = compare(first, second, groups)
    assert (result.n_pairs, result.n_left_out, result.n_groups) == (49, 2, 25)
    assert result.median_difference == pytest.approx(np.median(expected))
    assert result.median_interval.contains(result.median_difference)
    assert result.mean_difference == pytest.approx(np.mean(expected))
    assert result.mean_interval == mean_interval(np.sort(expected))
    assert result.p == pytest.approx(stats.wilcoxon(expected).pvalue)
    turned = compare(second, first, groups)
    assert (turned.median_difference, turned.p) == (
        pytest.approx(-result.median_difference),
        pytest.approx(result.p),
    )


def test_equal_models_do_not_differ():
    scores = {case: case / 10 for case in range(8)}
    result = compare(scores, dict(scores), {case: case for case in scores})
    assert (result.p, result.median_difference) == (1, 0)
    assert result.median_interval == result.mean_interval == Interval(0, 0, "few patients")


def test_a_lost_case_shows_in_the_mean_difference():
    first = dict.fromkeys(range(20), 0.9)
    second = {**first, 7: 0.48}
    result = compare(second, first, {case: case for case in first})
    assert result.median_difference == 0
    assert result.mean_difference == pytest.approx(-0.021)


@pytest.mark.parametrize("patients", [0, 1, 2])
def test_few_patients_are_no_comparison(patients):
    first, second = {i: 0.5 + 0.1 * i for i in range(patients)}, dict.fromkeys(range(patients), 0.4)
    result = compare(first, second, {i: i for i in range(patients)})
    assert result.n_groups == patients
    assert not result.mean_interval.exists
    assert not result.median_interval.exists
    assert math.isnan(result.p) if patients == 0 else result.p >= 0.5


def test_holm_by_hand():
    # 0.01 * 4, 0.02 * 3, then max(0.06, 0.03 * 2), max(0.06, 0.9)
    assert holm([0.02, 0.9, 0.01, 0.03]) == pytest.approx([0.06, 0.9, 0.04, 0.06])
    assert holm([0.6, 0.7]) == pytest.approx([1, 1])
    assert holm([math.nan, 0.01, 0.02]) == pytest.approx([math.nan, 0.02, 0.02], nan_ok=True)
    assert holm([]).size == 0


def test_a_family_of_comparisons_is_corrected_together():
    groups = {i: i for i in range(12)}
    base = dict.fromkeys(range(12), 0.5)
    near = {i: 0.5 + (-1) ** i * 0.01 * i for i in range(12)}
    far = {i: 0.6 + 0.01 * i for i in range(12)}
    one, two = correct_family([compare(near, base, groups), compare(far, base, groups)])
    assert two.p_holm == pytest.approx(2 * two.p)
    assert one.p_holm == pytest.approx(one.p)


def test_outcomes_are_counted():
    result = count_outcomes(
        ["both", "missed", "both", "false_alarm", "true_negative", "true_negative"]
    )
    assert (result.n, result.n_valid, result.n_missed, result.n_false_alarm) == (6, 3, 1, 1)
    assert result.false_positive_rate == pytest.approx(1 / 3)
    assert math.isnan(count_outcomes(["both"]).false_positive_rate)


def test_means_are_taken_from_the_inside_out():
    values = [0.0, 1.0, 1.0, 0.2, 0.4, math.nan]
    volumes = ["v1", "v1", "v2", "v1", "v2", "v3"]
    objects = ["left", "left", "left", "right", "right", "right"]
    classes = ["kidney"] * 6
    overall, by_class = nested_mean(values, volumes, objects, classes)
    # left: (0.5 + 1) / 2; right: (0.2 + 0.4) / 2
    assert overall == pytest.approx((0.75 + 0.3) / 2)
    assert by_class == {"kidney": pytest.approx(0.525)}
    assert nested_mean([0, 1, 1, 1], [1, 2, 3, 1], ["a", "a", "a", "b"])[1] == {
        "a": pytest.approx(2 / 3),
        "b": 1,
    }
    assert nested_mean([math.nan], ["a"]) == (pytest.approx(math.nan, nan_ok=True), {})
    with pytest.raises(UsageError):
        nested_mean([1.0], [])


def test_chance_of_prompts_is_told_from_differences_of_patients():
    patients, seeds = ["a", "a", "b", "b", "c", "c"], [0, 1, 0, 1, 0, 1]
    between, drawn = spread([0.1, 0.3, 0.4, 0.6, 0.7, 0.9], patients, seeds)
    assert between == pytest.approx(0.3)
    assert drawn == pytest.approx(np.std([0.4, 0.6], ddof=1))
    assert math.isnan(spread([0.5], ["a"], [0])[1])
