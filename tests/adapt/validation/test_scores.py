"""Scores of a validation."""

from __future__ import annotations

import math

import pytest

from segscope.adapt.validation.scores import ValidationScores, average_patients


def test_patients_count_equally() -> None:
    patients = average_patients([("a", 0.2), ("b", 1.0), ("a", 0.4), ("c", math.nan)])
    assert patients == {"a": pytest.approx(0.3), "b": 1.0}
    scores = ValidationScores(patients, {"prompted": 0.9})
    assert scores.as_dict() == {"dice": pytest.approx(0.65), "prompted": 0.9}


def test_without_patients_there_is_no_dice() -> None:
    assert math.isnan(ValidationScores({}).dice)
