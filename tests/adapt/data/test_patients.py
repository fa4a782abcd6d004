"""Patients: who is trained on, and who is validated on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from segscope.adapt.data.patients import split_cases
from segscope.adapt.data.training_set import CaseSelection, gather
from segscope.errors import UsageError
from segscope.io.datasets.dataset import Case, DataSet, GroundTruth


def test_patients_are_on_one_side_only(images: DataSet) -> None:
    found = gather([images], CaseSelection(), 256)
    assert not set(found.train.groups) & set(found.val.groups)
    assert (len(found.train.items), len(found.val.items)) == (8, 2)
    assert found.train.classes == ("bright spot", "large body")
    assert found.card["licences"] == ["CC0"]


def test_without_a_split_patients_are_drawn_to_validate_on(images: DataSet) -> None:
    plain = replace(images, cases=tuple(replace(case, split="train") for case in images.cases))
    found, again, other = (gather([plain], CaseSelection(seed=seed), 256) for seed in (0, 0, 2))
    assert not set(found.train.groups) & set(found.val.groups)
    assert len(found.val.groups) == 2  # of five
    assert found.fingerprint == again.fingerprint
    assert found.fingerprint != other.fingerprint


def test_a_patient_in_both_splits_is_not_trained_on(images: DataSet) -> None:
    mixed = replace(images, cases=tuple(replace(case, group="g4" if case.id == "p0" else case.group)
                                          for case in images.cases))  # fmt: skip
    found = gather([mixed], CaseSelection(), 256)
    assert "p0" not in found.card["train"]["cases"]


def test_few_takes_so_many_patients(images: DataSet) -> None:
    found = gather([images], CaseSelection(max_patients=3), 256, unlabelled=True)
    assert len(found.train.groups) == 3
    assert len(found.train.items) == 6
    assert {item.labelled for item in found.unlabelled.items} == {False}
    assert len(found.unlabelled.items) == 2
    with pytest.raises(UsageError, match="holds 4 patients"):
        gather([images], CaseSelection(max_patients=9), 256)


def make_cases(patients: int, **changes: str) -> list[Case]:
    target = GroundTruth(Path("mask.png"))
    return [
        Case(f"p{number}", Path("image.png"), (target,), **changes) for number in range(patients)
    ]


@pytest.mark.parametrize(
    ("patients", "count"), [(2, 1), (3, 1), (5, 2), (10, 4), (20, 8), (39, 8), (40, 8), (100, 20)]
)
def test_small_sets_hold_out_more_than_a_fifth(patients: int, count: int) -> None:
    parts = split_cases(make_cases(patients), "set", max_patients=0, seed=0)
    assert (len(parts.val), len(parts.train)) == (count, patients - count)
    assert not parts.test


@pytest.mark.parametrize(("val", "test"), [(1, 0), (2, 1), (3, 1), (4, 2), (7, 4), (8, 5), (12, 6)])
def test_a_part_of_the_validation_patients_tests_the_result(val: int, test: int) -> None:
    cases = [
        *make_cases(4),
        *(replace(case, id=f"v{case.id}") for case in make_cases(val, split="val")),
    ]
    parts = split_cases(cases, "set", max_patients=0, seed=0, keep_test=True)
    assert (len(parts.test), len(parts.val)) == (test, val - test)
    assert not {case.id for case in parts.test} & {case.id for case in (*parts.val, *parts.train)}


def test_test_cases_test_the_result_where_there_are_any() -> None:
    test = [replace(case, id=f"t{case.id}") for case in make_cases(3, split="test")]
    trained = replace(test[0], group="p0")  # another image of a patient to train on
    parts = split_cases(
        [*make_cases(5), *test[1:], trained], "set", max_patients=0, seed=0, keep_test=True
    )
    assert [case.id for case in parts.test if case.id.startswith("t")] == [
        case.id for case in parts.test
    ]
    assert trained not in parts.test
    assert len(parts.val) == 2


def test_a_set_of_test_cases_only_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="all 3 cases of set with masks have the split `test`"):
        split_cases(make_cases(3, split="test"), "set", max_patients=0, seed=0)
