"""Scores of one validation: Dice by patient, and further figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class ValidationScores:
    """What a validation measured.

    Attributes:
        patients: Dice of each patient, 0 to 1; patients without a score are left out.
        figures: further figures by name.
    """

    patients: Mapping[str, float]
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def dice(self) -> float:
        """Mean Dice over patients, which decides which weights are saved; NaN without any."""
        if not self.patients:
            return float("nan")
        return float(np.mean(list(self.patients.values())))

    def as_dict(self) -> dict[str, float]:
        """All figures, the Dice first."""
        return {"dice": self.dice, **self.figures}


def average_patients(scores: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Mean of the scores of each patient, from (patient, score) pairs; NaN scores are left out."""
    collected: dict[str, list[float]] = {}
    for patient, score in scores:
        if not np.isnan(score):
            collected.setdefault(patient, []).append(score)
    return {patient: float(np.mean(values)) for patient, values in collected.items()}
