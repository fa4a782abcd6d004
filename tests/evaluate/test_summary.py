"""Figures of hand-made rows, against sums done by hand."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import pytest

from segscope.evaluate.overall import ALL
from segscope.evaluate.summary import size_of, summarise

HEADER = {"protocol": {"cvpr25": False}, "models": {}}
BASE: dict[str, Any] = {
    "model": "a", "dataset": "one", "case": "c", "group": "g", "split": "test", "modality": "CT", "kind": "image",
    "label": "x", "object": "0:1", "pixels": 100, "degrade": "none", "prompt": "box", "choose": "predicted", "seed": 0,
    "round": 1, "prompts": 1, "frames": 1, "outcome": "both", "unit": "px", "predicted_iou": 0.5, "true_iou": 0.5,
    "seconds": 0.1,
}  # fmt: skip


def row(dice: float, **changes: Any) -> dict[str, Any]:
    return {**BASE, "dice": dice, **changes}


def lines(rows: list[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    found = summarise(rows, HEADER, [], {}).lines
    return [line for line in found if all(line[key] == value for key, value in wanted.items())]


def test_objects_of_a_patient_come_first_then_patients_then_sets() -> None:
    rows = [
        row(0.2, group="p", object="0:1"), row(0.4, group="p", object="0:2"),  # 0.3
        row(0.9, group="q", case="d"),  # set one: 0.6
        row(1.0, dataset="two"),
    ]  # fmt: skip
    (one,) = lines(rows, dataset="one")
    assert one["metrics"]["dice"]["mean"] == pytest.approx(0.6)
    assert (one["n"], one["n_patients"], one["n_failures"]) == (3, 2, 2)
    (total,) = lines(rows, dataset=ALL)
    assert total["metrics"]["dice"]["mean"] == pytest.approx(0.8)
    assert total["n"] == 4


def test_classes_of_a_patient_count_the_same() -> None:
    rows = [row(0.0, label="cell", object=f"0:{k}") for k in range(9)] + [
        row(1.0, label="nucleus", object="0:10")
    ]
    (line,) = lines(rows, dataset="one")
    assert line["metrics"]["dice"]["mean"] == pytest.approx(0.5)


def test_empty_truth_leaves_the_mean_and_is_counted() -> None:
    rows = [
        row(0.5),
        row(math.nan, case="d", group="h", outcome="false_alarm"),
        row(0.0, case="e", outcome="missed"),
    ]
    (line,) = lines(rows, dataset="one")
    assert (line["n_valid"], line["n_missed"], line["n_false_alarm"]) == (2, 1, 1)
    assert line["metrics"]["dice"]["mean"] == pytest.approx(0.25)


def test_the_interval_over_sets_holds_the_mean() -> None:
    rows = [row(value, dataset=name, case=str(k), group=str(k))
            for name in ("one", "two") for k, value in enumerate((0.1, 0.5, 0.6, 0.8))]  # fmt: skip
    (total,) = lines(rows, dataset=ALL)
    figure = total["metrics"]["dice"]
    assert figure["low"] < figure["mean"] == pytest.approx(0.5)
    assert figure["mean"] < figure["high"]


def test_curves_hold_the_last_value_and_count_clicks() -> None:
    two, three = (0.5, 0.95), (0.1, 0.2, 0.3)
    rows = [row(value, prompt="clicks:3", round=k) for k, value in enumerate(two, 1)]
    rows += [
        row(value, prompt="clicks:3", round=k, case="d", group="h")
        for k, value in enumerate(three, 1)
    ]
    (curve,) = [c for c in summarise(rows, HEADER, [], {}).curves if c["dataset"] == "one"]
    assert curve["dice"] == pytest.approx([0.3, 0.575, 0.625])
    assert curve["noc@0.9"] == pytest.approx((2 + 3) / 2)
    assert curve["auc"] == pytest.approx(
        ((0.5 + 0.95) / 2 + 0.95 + (0.1 + 0.2) / 2 + (0.2 + 0.3) / 2) / 2 / 2
    )


def test_models_are_compared_on_what_both_were_asked() -> None:
    rows = [row(0.5 + 0.01 * k, case=str(k), group=str(k)) for k in range(8)]
    rows += [row(0.3 + 0.01 * k, case=str(k), group=str(k), model="b") for k in range(6)]
    (found,) = summarise(rows, HEADER, [], {}).comparisons
    assert (found["first"], found["second"], found["n_pairs"]) == ("a", "b", 6)
    assert found["difference"] == pytest.approx(0.2)
    assert found["p"] == pytest.approx(2 / 2**6)


def test_one_family_of_comparisons_is_corrected_together() -> None:
    rows = [row(0.5 + 0.1 * (model == "a"), model=model, dataset=name, case=str(k), group=str(k))
            for model in "ab" for name in ("one", "two", "three") for k in range(6)]  # fmt: skip
    found = summarise(rows, HEADER, [], {}).comparisons
    assert [one["p_holm"] for one in found] == pytest.approx([3 * found[0]["p"]] * 3)


def test_strata() -> None:
    assert [size_of(n) for n in (1023, 1024, 9215, 9216)] == ["small", "medium", "medium", "large"]
    rows = [row(0.2, pixels=10), row(0.8, pixels=10_000, case="d", modality="MR")]
    found = {
        (line["by"], line["stratum"]): line["metrics"]["dice"]["mean"]
        for line in summarise(rows, HEADER, [], {}).strata
    }
    assert found == {
        ("modality", "CT"): 0.2,
        ("modality", "MR"): 0.8,
        ("size", "small"): 0.2,
        ("size", "large"): 0.8,
    }


def test_calibration_looks_at_first_answers() -> None:
    rows = [row(0.5, case=str(k), predicted_iou=k / 10, true_iou=(k / 10) ** 2) for k in range(10)]
    rows.append(row(0.5, round=2, predicted_iou=0.0, true_iou=1.0))
    (found,) = summarise(rows, HEADER, [], {}).calibration
    assert found["n"] == 10
    assert found["spearman"] == pytest.approx(1)


def test_the_challenge_is_scored_as_it_was() -> None:
    """Two classes; class two has no box round of its own figure but the same rounds."""
    curves = {"0:1": (0.1, 0.2, 0.4, 0.6, 0.8, 1.0), "0:2": (0.0, 0.0, 0.2, 0.4, 0.4, 0.6)}
    rows = [
        row(0.0, kind="volume", prompt="box3d.mid+clicks.cc3d:5", object=thing, round=k, challenge_dice=value,
            challenge_nsd=value / 2)
        for thing, values in curves.items() for k, value in enumerate(values, 1)
    ]  # fmt: skip
    (found,) = summarise(rows, {"protocol": {"cvpr25": True}, "models": {}}, [], {}).challenge
    mean = [(a + b) / 2 for a, b in zip(*curves.values(), strict=True)]
    assert found["dice_first"] == pytest.approx(mean[0])
    assert found["dice_auc"] == pytest.approx(sum((a + b) / 2 for a, b in pairwise(mean[1:])))
    assert found["dice_final"] == pytest.approx(0.8)
    assert found["nsd_auc"] == pytest.approx(found["dice_auc"] / 2)


def test_a_run_over_time_scores_nothing() -> None:
    rows = [row(0.0, kind="volume", prompt="box3d.mid+clicks.cc3d:5", round=k, challenge_dice=0.9, challenge_nsd=0.9,
                seconds=20.0) for k in range(1, 7)]  # fmt: skip
    (found,) = summarise(rows, {"protocol": {"cvpr25": True}, "models": {}}, [], {}).challenge
    assert (found["dice_auc"], found["dice_final"]) == (0, 0)


def test_json_has_null_for_what_has_no_value() -> None:
    text = json.dumps(summarise([row(0.5)], HEADER, [], {}).as_dict(), allow_nan=False)
    assert json.loads(text)["lines"][0]["metrics"]["dice"]["low"] is None
