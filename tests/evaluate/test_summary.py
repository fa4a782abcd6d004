"""Figures of hand-made rows, against sums done by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.result_rows import HEADER, result_row

from segscope.evaluate.overall import ALL
from segscope.evaluate.summary import size_of, summarise


def lines(rows: list[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    found = summarise(rows, HEADER, [], {}).lines
    return [line for line in found if all(line[key] == value for key, value in wanted.items())]


def test_objects_of_a_patient_come_first_then_patients_then_sets() -> None:
    rows = [
        result_row(0.2, group="p", object="0:1"), result_row(0.4, group="p", object="0:2"),  # 0.3
        result_row(0.9, group="q", case="d"),  # set one: 0.6
        result_row(1.0, dataset="two"),
    ]  # fmt: skip
    (one,) = lines(rows, dataset="one")
    assert one["metrics"]["dice"]["mean"] == pytest.approx(0.6)
    assert (one["n"], one["n_patients"], one["n_failures"]) == (3, 2, 2)
    (total,) = lines(rows, dataset=ALL)
    assert total["metrics"]["dice"]["mean"] == pytest.approx(0.8)
    assert total["n"] == 4


def test_classes_of_a_patient_count_the_same() -> None:
    rows = [result_row(0.0, label="cell", object=f"0:{k}") for k in range(9)] + [
        result_row(1.0, label="nucleus", object="0:10")
    ]
    (line,) = lines(rows, dataset="one")
    assert line["metrics"]["dice"]["mean"] == pytest.approx(0.5)


def test_models_are_compared_on_what_both_were_asked() -> None:
    rows = [result_row(0.5 + 0.01 * k, case=str(k), group=str(k)) for k in range(8)]
    rows += [result_row(0.3 + 0.01 * k, case=str(k), group=str(k), model="b") for k in range(6)]
    (found,) = summarise(rows, HEADER, [], {}).comparisons
    assert (found["first"], found["second"], found["n_pairs"]) == ("a", "b", 6)
    assert found["difference"] == pytest.approx(0.2)
    assert found["p"] == pytest.approx(2 / 2**6)


def test_one_family_of_comparisons_is_corrected_together() -> None:
    rows = [
        result_row(0.5 + 0.1 * (model == "a"), model=model, dataset=name, case=str(k), group=str(k))
        for model in "ab"
        for name in ("one", "two", "three")
        for k in range(6)
    ]
    found = summarise(rows, HEADER, [], {}).comparisons
    assert [one["p_holm"] for one in found] == pytest.approx([3 * found[0]["p"]] * 3)


def test_strata() -> None:
    assert [size_of(n) for n in (1023, 1024, 9215, 9216)] == ["small", "medium", "medium", "large"]
    rows = [result_row(0.2, pixels=10), result_row(0.8, pixels=10_000, case="d", modality="MR")]
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
    rows = [
        result_row(0.5, case=str(k), predicted_iou=k / 10, true_iou=(k / 10) ** 2)
        for k in range(10)
    ]
    rows.append(result_row(0.5, round=2, predicted_iou=0.0, true_iou=1.0))
    (found,) = summarise(rows, HEADER, [], {}).calibration
    assert found["n"] == 10
    assert found["spearman"] == pytest.approx(1)


def test_json_has_null_for_what_has_no_value() -> None:
    text = json.dumps(summarise([result_row(0.5)], HEADER, [], {}).as_dict(), allow_nan=False)
    assert json.loads(text)["lines"][0]["metrics"]["dice"]["low"] is None
