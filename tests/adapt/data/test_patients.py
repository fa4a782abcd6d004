"""Patients: who is trained on, and who is validated on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from segscope.adapt.data.training_set import CaseSelection, gather
from segscope.errors import UsageError
from segscope.io.datasets.dataset import DataSet


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
    assert len(found.val.groups) == 1
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
