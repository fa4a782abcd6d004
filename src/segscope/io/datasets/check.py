"""A data set looked through before anything is trained or judged on it: files, grids, labels,
duplicates, leaks.

`checks.CHECKS` lists what is looked for. Cases are read one at a time; what is kept of each are a
few hundred bytes.
"""

from __future__ import annotations

import json
import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segscope.errors import SegscopeError, UsageError
from segscope.io import FORMATS
from segscope.io.base import suffix_of
from segscope.io.datasets.check_case import Looked, look
from segscope.io.datasets.dataset import Case, DataSet
from segscope.io.datasets.faults import CHECKS, Check, Finding, finding
from segscope.io.datasets.reading import dataset, members

Advance = Callable[[int, int], None]
_Seen = tuple[Case, bytes, NDArray[np.uint64] | None]

MOST_BITS = 12
"""Perceptual hashes (256 bits) that differ in at most this many are taken for one image. Measured
on 1,900 images of 20 kinds: unrelated ones differ in 13 or more, four of five saved again smaller
and as JPEG in at most 12.
"""

_SUFFIXES = tuple(suffix for entry in FORMATS for suffix in entry.suffixes)
_PERSON = re.compile(
    r"(?:^|[^a-z])((?:patient|person|subject|subj|sub|pat|case|p)[-_ ]?\d+)(?!\d)", re.IGNORECASE
)
_PART = re.compile(r"^(.*\d.*?)[-_ ](?:frame|slice|img|im|sl|z|t|f|s)[-_ ]?\d+\b.*$", re.IGNORECASE)
_IN_ORDER = sorted(CHECKS, key=lambda check: ("error", "warning", "info").index(check.severity))
_ORDER = {check.kind: place for place, check in enumerate(_IN_ORDER)}


def check(
    path: str | Path, *, workers: int = 1, fast: bool = False, advance: Advance | None = None
) -> list[Finding]:
    """Look through a data set, or the data sets of a folder, for what would spoil training or
    figures.

    Args:
        path: what `cases.dataset` or `cases.datasets` reads.
        workers: processes that read cases.
        fast: look at three frames of each image only, and not for objects in pieces.
        advance: told (cases done, cases in all) as it goes.

    Returns:
        Findings, errors first, each severity in the order of `CHECKS`; none means that nothing is
        wrong.

    Raises:
        UsageError: nothing there, or no data set.
    """
    if workers < 1:
        raise UsageError(f"workers is {workers}; wanted 1 or more processes")
    found: list[Finding] = []
    paths = members(path)
    sets = [
        each
        for member in paths
        if (each := _listed(member, found, alone=len(paths) == 1)) is not None
    ]
    for each in sets:
        found += [*_unlisted(each), *_listed_twice(each), *_groups(each)]
    cases = [
        case for each in sets for case in each.cases if all(file.exists() for file in case.files)
    ]
    seen: list[_Seen] = []
    values: dict[str, set[int]] = defaultdict(set)
    for done, (case, looked) in enumerate(zip(cases, _looks(cases, workers, fast), strict=True), 1):
        found += looked.findings
        values[case.dataset] |= looked.values
        if looked.digest:
            seen.append((case, looked.digest, looked.likeness))
        if advance is not None:
            advance(done, len(cases))
    for each in sets:
        found += _absent(each, values[each.name])
    found += _duplicates(seen)
    return sorted(found, key=lambda entry: _ORDER[entry.kind])


def _looks(cases: Sequence[Case], workers: int, fast: bool) -> Iterator[Looked]:
    if workers == 1:
        yield from (look(case, fast=fast) for case in cases)
        return
    # spawned, as libraries below hold threads that do not survive a fork
    with ProcessPoolExecutor(
        workers, get_context("spawn"), warnings.simplefilter, ("ignore",)
    ) as pool:
        yield from pool.map(partial(look, fast=fast), cases, chunksize=4)


def _listed(path: Path, found: list[Finding], *, alone: bool) -> DataSet | None:
    """A data set with what is wrong with its list; None when that cannot be read."""
    before = len(found)

    def complain(kind: str, case: str, file: Path, message: str) -> None:
        found.append(finding(kind, f"{path.resolve().name}: {case}", file, message))

    try:
        return dataset(path, complain)
    except SegscopeError as error:
        if (
            isinstance(error, UsageError) and alone and len(found) == before
        ):  # not a data set at all
            raise
        found.append(finding("list", path.name, path, str(error)))
    return None


def _mentioned(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _mentioned(part)


def _unlisted(found: DataSet) -> Iterator[Finding]:
    """Files of known kinds in the folders where listed ones lie."""
    known = {file.resolve() for case in found.cases for file in case.files}
    folders = {file.parent for file in known if file.is_relative_to(found.path.resolve())}
    if found.listing is not None:
        document = json.loads(found.listing.read_text(encoding="utf-8"))
        known |= {
            (found.path / text).resolve() for text in _mentioned(document) if len(text) < 1000
        }
    for folder in sorted(folders - known):
        others = [
            file.name
            for file in sorted(folder.iterdir())
            if not file.name.startswith(".") and suffix_of(file, _SUFFIXES) and file not in known
        ]
        if others:
            shown = ", ".join(others[:5]) + (" ..." if len(others) > 5 else "")
            yield finding(
                "unlisted",
                found.name,
                folder,
                f"{len(others)} files that are not in the list: {shown}",
            )


def _listed_twice(found: DataSet) -> Iterator[Finding]:
    first: dict[Path, Case] = {}
    for case in found.cases:
        before = first.setdefault(case.image, case)
        if before.id != case.id:
            yield finding(
                "listed-twice",
                f"{found.name}: {case.id}",
                case.image,
                f"listed as {before.id!r} and as {case.id!r}",
            )


def _groups(found: DataSet) -> Iterator[Finding]:
    """Patients on both sides of a split: by their groups, else as far as ids tell."""
    if len({case.split for case in found.cases}) < 2:
        return
    yield from _across(found, "group-leak", "the group", lambda case: case.group)
    if all(case.group == case.id for case in found.cases):
        place = found.listing or found.path
        yield finding(
            "no-groups", found.name, place, f"each of the {len(found.cases)} cases is its own group"
        )
        yield from _across(found, "id-leak", "ids that begin like", lambda case: person_of(case.id))


def _across(
    found: DataSet, kind: str, what: str, key: Callable[[Case], str | None]
) -> Iterator[Finding]:
    members_of: dict[str, list[Case]] = defaultdict(list)
    for case in found.cases:
        name = key(case)
        if name is not None:
            members_of[name].append(case)
    for name, cases in members_of.items():
        splits = {case.split: case for case in cases}
        if len(splits) > 1:
            held_out = next(case for split, case in splits.items() if split != "train")
            counts = ", ".join(
                f"{sum(case.split == split for case in cases)} in {split} (as {splits[split].id!r})"
                for split in splits
            )
            yield finding(
                kind,
                f"{found.name}: {held_out.id}",
                held_out.image,
                f"{what} {name!r} has cases {counts}",
            )


def person_of(identity: str) -> str | None:
    """The part of an id that seems to name a patient or a scan: patient012 of patient012_frame01;
    None without one.
    """
    match = _PERSON.search(identity) or _PART.match(identity)
    if match:
        return match[1].lower()
    return None


def _absent(found: DataSet, values: set[int]) -> Iterator[Finding]:
    named = {number: name for number, name in found.labels.items() if name != "ignore"}
    if values and found.listing is not None:
        for number in sorted(set(named) - values):
            what = f"declares {number} ({named[number]}), which no mask holds"
            yield finding("absent-label", found.name, found.listing, what)


def _duplicates(seen: Iterable[_Seen]) -> Iterator[Finding]:
    first: dict[bytes, Case] = {}
    single: list[tuple[Case, NDArray[np.uint64]]] = []
    for case, digest, likeness in seen:
        before = first.setdefault(digest, case)
        if before is case:
            if likeness is not None:
                single.append((case, likeness))
        elif before.split != case.split:
            yield _twin("image-leak", before, case, "the same pixels as")
        elif before.image != case.image:
            yield _twin("duplicate", before, case, "the same pixels as")
    for before, case, bits in _alike(single):
        if (before.group, before.split) != (case.group, case.split):
            yield _twin(
                "near-duplicate",
                before,
                case,
                f"all but {bits} of 256 bits of its hash are those of",
            )


def _twin(kind: str, first: Case, second: Case, what: str) -> Finding:
    said = f"{second.image}: {what} {first.image} ({first.split}); this one is in {second.split}"
    return finding(kind, f"{second.dataset}: {second.id}", second.image, said)


def _alike(single: Sequence[tuple[Case, NDArray[np.uint64]]]) -> Iterator[tuple[Case, Case, int]]:
    """Of each case, the nearest before it whose hash differs in few bits, and in how many."""
    if single:
        hashes = np.stack([likeness for _, likeness in single])
    else:
        hashes = np.empty((0, 4), np.uint64)
    for index in range(1, len(single)):
        bits = np.bitwise_count(hashes[:index] ^ hashes[index]).sum(axis=1)
        nearest = int(bits.argmin())
        if bits[nearest] <= MOST_BITS:
            yield single[nearest][0], single[index][0], int(bits[nearest])


def by_kind(findings: Iterable[Finding]) -> list[tuple[Check, list[Finding]]]:
    """Findings by kind, errors first."""
    groups: dict[str, list[Finding]] = defaultdict(list)
    for entry in findings:
        groups[entry.kind].append(entry)
    return [(check, groups[check.kind]) for check in _IN_ORDER if check.kind in groups]
