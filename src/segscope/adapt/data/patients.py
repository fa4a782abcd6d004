"""Patients: which cases are trained on, validated on, and used without truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from segscope.errors import UsageError
from segscope.io.datasets.dataset import Case
from segscope.metrics.intervals import LEAST_PATIENTS

VAL_SHARE = 0.2
"""Share of the patients that are held out where the data set names no validation cases."""

LEAST_VAL = 8
"""Patients that are held out where the share is fewer, because they have to tell a gain from
chance; never more than `MOST_VAL_SHARE`.
"""

MOST_VAL_SHARE = 0.4


@dataclass(frozen=True)
class CaseSplit:
    """Cases by what they are used for; no patient is in two of the first three.

    Attributes:
        train: to train on.
        val: to validate on; they choose the weights.
        test: kept from the run, to test its result; none unless that was requested.
        unlabelled: without truth.
    """

    train: list[Case]
    val: list[Case]
    test: list[Case]
    unlabelled: list[Case]


def split_cases(
    cases: Sequence[Case],
    name: str,
    *,
    max_patients: int,
    seed: int,
    keep_test: bool = False,
) -> CaseSplit:
    """Decide what cases are used for.

    Args:
        cases: of one or several data sets.
        name: of the data sets, for messages.
        max_patients: number of training patients, drawn by `seed`; 0 for all.
        seed: of drawing patients.
        keep_test: whether some patients take no part in the run: those of the test cases, else a
            part of those to validate on.

    Raises:
        UsageError: no truth, or too few patients.
    """
    labelled = [case for case in cases if case.targets]
    unlabelled = [case for case in cases if not case.targets and case.split == "train"]
    if not labelled:
        raise UsageError(f"no case of {name} has a truth to learn from; adaptation needs masks")
    if all(case.split == "test" for case in labelled):
        raise UsageError(
            f"all {len(labelled)} cases of {name} with masks have the split `test`, which is never "
            "trained on; give those to train on the split `train`"
        )
    train = [case for case in labelled if case.split == "train"]
    val = [case for case in labelled if case.split == "val"]
    if not val:
        val, _ = _divide(train, _hold_out(train, name, seed))
    _, train = _divide(train, set(map(patient_of, val)))
    test: list[Case] = []
    if keep_test:
        test, val = _keep_test(labelled, train, val, seed)
    if max_patients:
        train, rest = _divide(train, _draw_patients(train, name, max_patients, seed))
        # cases that --max-patients leaves out may still serve methods that learn without truth
        unlabelled += [replace(case, targets=()) for case in rest]
    return CaseSplit(train, val, test, unlabelled)


def _keep_test(
    labelled: Sequence[Case], train: Sequence[Case], val: list[Case], seed: int
) -> tuple[list[Case], list[Case]]:
    """Cases to test the result of a run, and the others to validate on; none of the first where
    there is only one patient.
    """
    used = set(map(patient_of, (*train, *val)))
    test = [case for case in labelled if case.split == "test" and patient_of(case) not in used]
    if test:
        return test, val
    patients = _sort_patients(val)
    # at least five, which an interval takes, as long as three are left to choose the weights
    count = max(len(patients) // 2, min(LEAST_PATIENTS, len(patients) - 3))
    order = np.random.default_rng((seed, 3)).permutation(len(patients)).tolist()
    return _divide(val, {patients[k] for k in order[:count]})


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
    few = min(LEAST_VAL, int(MOST_VAL_SHARE * len(patients)))
    count = max(1, few, round(VAL_SHARE * len(patients)))
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
