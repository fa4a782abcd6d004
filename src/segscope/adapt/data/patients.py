"""Patients: which cases are trained on, validated on, and used without truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from segscope.errors import UsageError
from segscope.io.datasets.dataset import Case

VAL_SHARE = 0.2
"""Share of the patients that are held out where the data set names no validation cases."""


def split_cases(
    cases: Sequence[Case], name: str, *, max_patients: int, seed: int
) -> tuple[list[Case], list[Case], list[Case]]:
    """Cases to train on, to validate on, and without truth; no patient is in both of the first two.

    Args:
        cases: of one or several data sets.
        name: of the data sets, for messages.
        max_patients: number of training patients, drawn by `seed`; 0 for all.
        seed: of drawing patients.

    Raises:
        UsageError: no truth, or too few patients.
    """
    labelled = [case for case in cases if case.targets]
    unlabelled = [case for case in cases if not case.targets and case.split == "train"]
    if not labelled:
        raise UsageError(f"no case of {name} has a truth to learn from; adaptation needs masks")
    train = [case for case in labelled if case.split == "train"]
    val = [case for case in labelled if case.split == "val"]
    if not val:
        val, _ = _divide(train, _hold_out(train, name, seed))
    _, train = _divide(train, set(map(patient_of, val)))
    if max_patients:
        train, rest = _divide(train, _draw_patients(train, name, max_patients, seed))
        # cases that --max-patients leaves out may still serve methods that learn without truth
        unlabelled += [replace(case, targets=()) for case in rest]
    return train, val, unlabelled


def _divide(cases: Sequence[Case], patients: set[str]) -> tuple[list[Case], list[Case]]:
    """The cases of some patients, and those of all others."""
    inside = [case for case in cases if patient_of(case) in patients]
    outside = [case for case in cases if patient_of(case) not in patients]
    return inside, outside


def patient_of(case: Case) -> str:
    return case.group or case.id


def _sort_patients(cases: Iterable[Case]) -> list[str]:
    return sorted(set(map(patient_of, cases)))


def _hold_out(train: Sequence[Case], name: str, seed: int) -> set[str]:
    """Some training patients, to validate on."""
    patients = _sort_patients(train)
    if len(patients) < 2:
        raise UsageError(
            f"{name} has {len(patients)} patients (groups) to train on; at least two are needed, "
            "one to train on and one to validate on. Add a case of another patient, or give one "
            "the split `val`"
        )
    count = max(1, round(VAL_SHARE * len(patients)))
    order = np.random.default_rng((seed, 1)).permutation(len(patients)).tolist()
    return {patients[k] for k in order[:count]}


def _draw_patients(train: Sequence[Case], name: str, count: int, seed: int) -> set[str]:
    patients = _sort_patients(train)
    if count > len(patients):
        raise UsageError(
            f"--max-patients {count}: {name} holds {len(patients)} patients to train on; "
            "choose fewer"
        )
    order = np.random.default_rng((seed, 2)).permutation(len(patients)).tolist()
    return {patients[k] for k in order[:count]}
