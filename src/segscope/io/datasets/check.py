"""Check a data set before anything is trained or evaluated on it: files, grids, labels, duplicates,
leaks.

`faults.FAULT_KINDS` lists what is looked for. Cases are read one at a time; of each, only a few
hundred bytes stay in memory.
"""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segscope.errors import SegscopeError, UsageError, format_count, list_first
from segscope.io.base import suffix_of
from segscope.io.datasets.check_case import CaseCheck, check_case
from segscope.io.datasets.dataset import Case, DataSet
from segscope.io.datasets.faults import FAULT_KINDS, DatasetFault, FaultKind
from segscope.io.datasets.folders import IMAGE_SUFFIXES, list_entries
from segscope.io.datasets.reading import list_datasets, read_dataset

Advance = Callable[[int, int], None]
"""Is called with (cases done, cases in total)."""
Checked = tuple[Case, CaseCheck]

WHITE = 255
"""Value of the inside in masks that are stored as black and white images."""

MAX_BITS = 12
"""Perceptual hashes (256 bits) that differ in at most this many count as one image. Measured on
1,900 images of 20 kinds: unrelated ones differ in 13 or more, four of five saved again smaller and
as JPEG in at most 12.
"""

_PERSON = re.compile(
    r"(?:^|[^a-z])((?:patient|person|subject|subj|sub|pat|case|p)[-_ ]?\d+)(?!\d)", re.IGNORECASE
)
_PART = re.compile(r"^(.*\d.*?)[-_ ](?:frame|slice|img|im|sl|z|t|f|s)[-_ ]?\d+\b.*$", re.IGNORECASE)
_SEVERITIES = ("error", "warning", "info")
_BY_SEVERITY = sorted(FAULT_KINDS, key=lambda kind: _SEVERITIES.index(kind.severity))
_ORDER = {fault_kind.kind: place for place, fault_kind in enumerate(_BY_SEVERITY)}


def check_dataset(
    path: str | Path, *, workers: int = 1, fast: bool = False, advance: Advance | None = None
) -> list[DatasetFault]:
    """Check a data set, or the data sets of a folder, for what would spoil training or evaluation.

    Args:
        path: a data set, or a folder of several.
        workers: processes that read cases.
        fast: look at only three frames of each image, and not for objects in pieces.
        advance: reports progress.

    Returns:
        Faults, errors first, each severity in the order of `FAULT_KINDS`; empty when there are
        none.

    Raises:
        UsageError: nothing there, or no data set.
    """
    if workers < 1:
        raise UsageError(f"workers is {workers}; expected 1 or more processes")
    faults: list[DatasetFault] = []
    sets = _read_sets(list_datasets(path), faults)
    for each in sets:
        faults += _find_unlisted(each)
        faults += _find_repeated_images(each)
        faults += _find_leaking_groups(each)
    checked: list[Checked] = []
    cases = chain.from_iterable(each.cases for each in sets)
    readable = list(filter(_is_complete, cases))
    for result in _check_cases(readable, workers, fast):
        checked.append(result)
        faults += result[1].faults
        if advance is not None:
            advance(len(checked), len(readable))
    for each in sets:
        faults += _find_absent_labels(each, checked)
        faults += _find_mixed_values(each, checked)
    faults += _find_duplicates(checked)
    return sorted(faults, key=lambda fault: _ORDER[fault.kind])


def group_by_kind(faults: Iterable[DatasetFault]) -> list[tuple[FaultKind, list[DatasetFault]]]:
    """Faults by kind, errors first."""
    groups: dict[str, list[DatasetFault]] = defaultdict(list)
    for fault in faults:
        groups[fault.kind].append(fault)
    return [(kind, groups[kind.kind]) for kind in _BY_SEVERITY if kind.kind in groups]


# --- reading -------------------------------------------------------------------------------------


def _read_sets(paths: Sequence[Path], faults: list[DatasetFault]) -> list[DataSet]:
    """The data sets whose lists can be read; what is wrong with lists is added to `faults`."""
    sets = []
    for path in paths:
        each = _read_set(path, faults, is_only=len(paths) == 1)
        if each is not None:
            sets.append(each)
    return sets


def _read_set(path: Path, faults: list[DatasetFault], *, is_only: bool) -> DataSet | None:
    count_before = len(faults)

    def complain(kind: str, case: str, file: Path, message: str) -> None:
        faults.append(DatasetFault.of(kind, f"{path.resolve().name}: {case}", file, message))

    try:
        return read_dataset(path, complain)
    except SegscopeError as error:
        is_no_set = isinstance(error, UsageError) and len(faults) == count_before
        if is_only and is_no_set:
            raise
        faults.append(DatasetFault.of("list", path.name, path, str(error)))
    return None


def _is_complete(case: Case) -> bool:
    return all(map(Path.exists, case.files))


def _check_cases(cases: Sequence[Case], workers: int, fast: bool) -> Iterator[Checked]:
    if workers == 1:
        for case in cases:
            yield case, check_case(case, fast=fast)
        return
    # spawned, as libraries below hold threads that do not survive a fork
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, context, warnings.simplefilter, ("ignore",)) as pool:
        results = pool.map(partial(check_case, fast=fast), cases, chunksize=4)
        yield from zip(cases, results, strict=True)


# --- lists ---------------------------------------------------------------------------------------


def _find_unlisted(data: DataSet) -> Iterator[DatasetFault]:
    """Files of known formats in the folders of listed ones."""
    known = set(map(Path.resolve, chain.from_iterable(case.files for case in data.cases)))
    folders = {file.parent for file in known if file.is_relative_to(data.path.resolve())}
    known |= _listed_paths(data)
    for folder in sorted(folders - known):
        unlisted = [
            file.name
            for file in list_entries(folder)
            if suffix_of(file, IMAGE_SUFFIXES) and file not in known
        ]
        if unlisted:
            count = format_count(len(unlisted), "file")
            what = f"{count} outside the list: {list_first(unlisted, 5)}"
            yield DatasetFault.of("unlisted", data.name, folder, what)


def _listed_paths(data: DataSet) -> set[Path]:
    """Everything in the list of a data set that may be a path."""
    if data.listing is None:
        return set()
    document = json.loads(data.listing.read_text(encoding="utf-8"))
    return {(data.path / text).resolve() for text in _iter_strings(document) if len(text) < 1000}


def _iter_strings(value: object) -> Iterator[str]:
    """All texts in a JSON document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _iter_strings(list(value.values()))
    elif isinstance(value, list):
        for part in value:
            yield from _iter_strings(part)


def _find_repeated_images(data: DataSet) -> Iterator[DatasetFault]:
    first_case: dict[Path, Case] = {}
    for case in data.cases:
        before = first_case.setdefault(case.image, case)
        if before.id != case.id:
            what = f"listed as {before.id!r} and as {case.id!r}"
            yield DatasetFault.of("listed-twice", f"{data.name}: {case.id}", case.image, what)


def _find_absent_labels(data: DataSet, checked: Iterable[Checked]) -> Iterator[DatasetFault]:
    if data.listing is None:
        return
    labels_of_cases = (result.values for case, result in checked if case.dataset == data.name)
    values = set(chain.from_iterable(labels_of_cases))
    if not values:
        return
    for number in sorted(set(data.labels) - values):
        if data.labels[number] != "ignore":
            what = f"declares {number} ({data.labels[number]}), which no mask holds"
            yield DatasetFault.of("absent-label", data.name, data.listing, what)


def _find_mixed_values(data: DataSet, checked: Iterable[Checked]) -> Iterator[DatasetFault]:
    """Masks of 0 and 1 among masks of 0 and 255, or the other way round: the fewer ones."""
    by_value: dict[int, list[tuple[Case, Path]]] = {1: [], WHITE: []}
    for case, result in checked:
        for file, value in result.lone_values:
            if case.dataset == data.name and value in by_value:
                by_value[value].append((case, file))
    usual, odd = sorted(by_value, key=lambda value: len(by_value[value]), reverse=True)
    for case, file in by_value[odd]:
        what = f"holds 0 and {odd}; {len(by_value[usual])} other masks hold 0 and {usual}"
        yield DatasetFault.of("mixed-values", f"{data.name}: {case.id}", file, what)


# --- splits --------------------------------------------------------------------------------------


def _find_leaking_groups(data: DataSet) -> Iterator[DatasetFault]:
    """Patients on both sides of a split: by their groups, else as far as ids tell."""
    if len({case.split for case in data.cases}) < 2:
        return
    yield from _find_split_keys(data, "group-leak", "the group", lambda case: case.group)
    if all(case.group == case.id for case in data.cases):
        place = data.listing or data.path
        what = f"each of the {len(data.cases)} cases is a group by itself"
        yield DatasetFault.of("no-groups", data.name, place, what)
        yield from _find_split_keys(
            data, "id-leak", "ids that begin like", lambda case: person_of(case.id)
        )


def _find_split_keys(
    data: DataSet, kind: str, what: str, key: Callable[[Case], str | None]
) -> Iterator[DatasetFault]:
    """Values of `key` that cases of several splits share."""
    cases_of: dict[str, list[Case]] = defaultdict(list)
    for case in data.cases:
        name = key(case)
        if name is not None:
            cases_of[name].append(case)
    for name, cases in cases_of.items():
        example = {case.split: case for case in cases}
        if len(example) < 2:
            continue
        held_out = next(case for split, case in example.items() if split != "train")
        counts = Counter(case.split for case in cases)
        parts = [f"{counts[split]} in {split} (as {case.id!r})" for split, case in example.items()]
        message = f"{what} {name!r} has cases {', '.join(parts)}"
        yield DatasetFault.of(kind, f"{data.name}: {held_out.id}", held_out.image, message)


def person_of(identity: str) -> str | None:
    """The part of an id that seems to name a patient or a scan: patient012 of patient012_frame01;
    None without one.
    """
    match = _PERSON.search(identity) or _PART.match(identity)
    if match:
        return match[1].lower()
    return None


# --- duplicates ----------------------------------------------------------------------------------


def _find_duplicates(checked: Iterable[Checked]) -> Iterator[DatasetFault]:
    first_case: dict[bytes, Case] = {}
    distinct: list[tuple[Case, NDArray[np.uint64]]] = []
    for case, result in checked:
        if not result.digest:
            continue
        before = first_case.setdefault(result.digest, case)
        if before is case and result.image_hash is not None:
            distinct.append((case, result.image_hash))
        if before.split != case.split:
            yield _duplicate("image-leak", before, case, "the same pixels as")
        elif before.image != case.image:
            yield _duplicate("duplicate", before, case, "the same pixels as")
    for before, case, bits in _find_alike(distinct):
        if (before.group, before.split) != (case.group, case.split):
            what = f"all but {bits} of 256 bits of its hash are those of"
            yield _duplicate("near-duplicate", before, case, what)


def _duplicate(kind: str, first: Case, second: Case, what: str) -> DatasetFault:
    message = f"{second.image}: {what} {first.image} ({first.split}); this one is in {second.split}"
    return DatasetFault.of(kind, f"{second.dataset}: {second.id}", second.image, message)


def _find_alike(
    distinct: Sequence[tuple[Case, NDArray[np.uint64]]],
) -> Iterator[tuple[Case, Case, int]]:
    """For each case, the most similar one before it if their hashes differ in few bits; and how
    many.
    """
    if not distinct:
        return
    hashes = np.stack([image_hash for _, image_hash in distinct])
    for index in range(1, len(distinct)):
        bits = np.bitwise_count(hashes[:index] ^ hashes[index]).sum(axis=1)
        nearest = int(bits.argmin())
        if bits[nearest] <= MAX_BITS:
            yield distinct[nearest][0], distinct[index][0], int(bits[nearest])
