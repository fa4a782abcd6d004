"""Training settings."""

from __future__ import annotations

import pytest

from segscope.adapt.training.settings import TrainingSettings
from segscope.errors import UsageError


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch": 3, "accumulate": 2},
        {"precision": "int8"},
        {"rate": 0.0},
        {"prompts": ()},
        {"prompts": ((1.0, "boxx"),)},
        {"average": 1.0},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        TrainingSettings(**{"steps": 5, **wrong})  # type: ignore[arg-type]
    assert TrainingSettings.from_dict(TrainingSettings(steps=5).as_dict()) == TrainingSettings(
        steps=5
    )
