"""Which validated weights are saved, and what they gain on patients who did not choose them.

The best of many validations on a few patients is partly luck. So the gain that is reported is
cross-fitted: for each patient, the weights are chosen by all other patients and scored on this one.
The base is kept unless this gain exceeds its standard error over patients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.metrics.intervals import Interval, mean_interval

Scores = NDArray[np.float64]
"""(validation, patient) Dice; NaN where a patient has no score. The first validation is that of the
base.
"""

NO_INTERVAL = Interval(math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Gain:
    """What a run gained over its start.

    Attributes:
        before: mean Dice of the base over validation patients, 0 to 1.
        after: the same of the weights that the other patients chose; NaN for a single patient.
        interval: 95 % interval of the mean difference.
        patients: number of patients with both.
        base_saved: whether no weights were better than the base by more than chance, so that the
            base itself is saved.
    """

    before: float
    after: float
    interval: Interval
    patients: int
    base_saved: bool

    @property
    def difference(self) -> float:
        return self.after - self.before

    @property
    def significant(self) -> bool:
        """Whether the interval excludes that nothing was gained."""
        return self.interval.low > 0

    @property
    def text(self) -> str:
        """The gain in words."""
        if self.base_saved:
            return (
                "no gain shown: on patients who did not choose it, no step was better than the "
                "base by more than chance, so the result equals the base"
            )
        if self.patients < 2:
            return "no gain shown: the only validation patient also chose the step"
        remarks = []
        if self.interval.exists:
            low = f"{self.interval.low:+.3f}"
            remarks.append(f"95 % interval {low} to {self.interval.high:+.3f}")
        if self.interval.note:
            remarks.append(self.interval.note)
        patients = f"{self.patients} patients who did not choose the step"
        text = f"gain {self.difference:+.3f} on {patients}"
        if remarks:
            text += f" ({', '.join(remarks)})"
        if not self.significant:
            text = f"no gain shown: {text}"
        return text

    def as_dict(self) -> dict[str, Any]:
        """Plain values for adaptation.json; None where a number is unknown."""
        values: dict[str, Any] = {
            **asdict(self),
            "difference": self.difference,
            "low": self.interval.low,
            "high": self.interval.high,
            "significant": self.significant,
            "text": self.text,
        }
        del values["interval"]
        for name, value in values.items():
            if isinstance(value, float) and math.isnan(value):
                values[name] = None
        return values


def table_of(validations: Sequence[Mapping[str, float]]) -> Scores:
    """Scores of each validation by patient as a table."""
    patients = sorted({patient for each in validations for patient in each})
    rows = [[each.get(patient, math.nan) for patient in patients] for each in validations]
    return np.array(rows, np.float64).reshape(len(validations), len(patients))


def choose_weights(scores: Scores) -> int:
    """Number of the validation that patients choose; 0 for the base.

    Of those that exceed the base by more than the standard error, the one with the largest gain.
    """
    best = 0
    best_gain = 0.0
    for number in range(1, len(scores)):
        gains = _known(scores[number] - scores[0])
        if len(gains) and gains.mean() > max(best_gain, _standard_error(gains)):
            best = number
            best_gain = float(gains.mean())
    return best


def cross_fit_gain(scores: Scores) -> Gain:
    """The cross-fitted gain of the weights that all patients choose, and whether it is enough to
    save them.
    """
    before = _known(scores[0])
    base = math.nan
    if len(before):
        base = float(before.mean())
    kept = Gain(base, base, NO_INTERVAL, len(before), base_saved=True)
    if choose_weights(scores) == 0:
        return kept
    differences = _known(_cross_fitted(scores) - scores[0])
    count = len(differences)
    if count < 2:
        return Gain(base, math.nan, NO_INTERVAL, count, base_saved=False)
    difference = float(differences.mean())
    if difference <= _standard_error(differences):
        return kept
    return Gain(base, base + difference, mean_interval(differences), count, base_saved=False)


def _cross_fitted(scores: Scores) -> Scores:
    """(patient,) score of each patient with the weights that the others choose."""
    chosen = np.empty(scores.shape[1])
    for patient in range(scores.shape[1]):
        others = np.delete(scores, patient, axis=1)
        chosen[patient] = scores[choose_weights(others), patient]
    return chosen


def _standard_error(gains: Scores) -> float:
    """Over patients; 0 for a single one, which tells nothing of others."""
    if len(gains) < 2:
        return 0.0
    return float(gains.std(ddof=1)) / math.sqrt(len(gains))


def _known(values: Scores) -> Scores:
    return values[~np.isnan(values)]
