"""A data set looked through before anything is trained or judged on it: files, grids, labels, duplicates, leaks.

`checks.CHECKS` lists what is looked for. Cases are read one at a time; what is kept of each are a few hundred bytes.
"""

from __future__ import annotations

import json
import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError, UsageError
from segscope.io import FORMATS
from segscope.io.base import suffix_of
from segscope.io.cases import dataset, members
from segscope.io.checking_case import Looked, look
from segscope.io.checks import CHECKS, Check, Finding, finding
from segscope.io.dataset import Case, DataSet

Advance = Callable[[int, int], None]

MOST_BITS = 12
"""Perceptual hashes (256 bits) that differ in at most this many are taken for one picture. Measured on 1,900 pictures
of 20 kinds: unrelated ones differ in 13 or more, four of five saved again smaller and as JPEG in at most 12."""

_SUFFIXES = tuple(suffix for entry in FORMATS for suffix in entry.suffixes)
_PERSON = re.compile(r"(?:^|[^a-z])((?:patient|person|subject|subj|sub|pat|case|p)[-_ ]?\d+)(?!\d)", re.IGNORECASE)
_PART = re.compile(r"^(.*\d.*?)[-_ ](?:frame|slice|img|im|sl|z|t|f|s)[-_ ]?\d+\b.*$", re.IGNORECASE)
_IN_ORDER = sorted(CHECKS, key=lambda check: ("error", "warning", "info").index(check.severity))
_ORDER = {check.kind: place for place, check in enumerate(_IN_ORDER)}


def check(path: str | Path, *, workers: int = 1, fast: bool = False, advance: Advance | None = None) -> list[Finding]:
    """Look through a data set, or the data sets of a folder, for what would spoil training or figures.

    Args:
        path: what `cases.dataset` or `cases.datasets` reads.
        workers: processes that read cases.
        fast: look at three frames of each image only, and not for objects in pieces.
        advance: told (cases done, cases in all) as it goes.

    Returns:
        Findings, errors first, each severity in the order of `CHECKS`; none means that nothing is wrong.

    Raises:
        UsageError: nothing there, or no data set.
    """
    if workers < 1:
        raise UsageError(f"workers is {workers}; wanted 1 or more processes")
    found: list[Finding] = []
    sets = [found_set for member in members(path) if (found_set := _listed(member, found)) is not None]
    for each in sets:
        found += [*_unlisted(each), *_listed_twice(each), *_groups(each)]
    cases = [case for each in sets for case in each.cases if all(file.exists() for file in case.files)]
    seen: list[tuple[Case, Looked]] = []
    values: dict[str, set[int]] = defaultdict(set)
    for case, looked in zip(cases, _looks(cases, workers, fast), strict=True):
        found += looked.findings
        values[case.dataset] |= looked.values
        seen.append((case, looked))
        if advance is not None:
            advance(len(seen), len(cases))
    for each in sets:
        found += _absent(each, values[each.name])
    found += _duplicates(seen)
    return sorted(found, key=lambda entry: _ORDER[entry.kind])


def _looks(cases: Sequence[Case], workers: int, fast: bool) -> Iterator[Looked]:
    if workers == 1:
        yield from (look(case, fast=fast) for case in cases)
        return
    # spawned, as libraries below hold threads that do not survive a fork
    with ProcessPoolExecutor(workers, get_context("spawn"), warnings.simplefilter, ("ignore",)) as pool:
        yield from pool.map(partial(look, fast=fast), cases, chunksize=4)


def _listed(path: Path, found: list[Finding]) -> DataSet | None:
    before = len(found)

    def complain(kind: str, case: str, file: Path, message: str) -> None:
        found.append(finding(kind, f"{path.resolve().name}: {case}", file, message))

    try:
        return dataset(path, complain)
    except ReadError as error:
        found.append(finding("list", path.name, path, str(error)))
    except UsageError:
        if len(found) == before:  # not a data set at all
            raise
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
        known |= {(found.path / text).resolve() for text in _mentioned(document) if len(text) < 1000}
    for folder in sorted(folders - known):
        others = [
            file.name
            for file in sorted(folder.iterdir())
            if not file.name.startswith(".") and suffix_of(file, _SUFFIXES) and file not in known
        ]
        if others:
            shown = ", ".join(others[:5]) + (" ..." if len(others) > 5 else "")
            yield finding("unlisted", found.name, folder, f"{len(others)} files that are not in the list: {shown}")


def _listed_twice(found: DataSet) -> Iterator[Finding]:
    first: dict[Path, Case] = {}
    for case in found.cases:
        before = first.setdefault(case.image, case)
        if before.id != case.id:
            yield finding(
                "listed-twice", f"{found.name}: {case.id}", case.image, f"listed as {before.id!r} and as {case.id!r}"
            )


def _groups(found: DataSet) -> Iterator[Finding]:
    """Patients on both sides of a split: by their groups, else as far as ids tell."""
    if len({case.split for case in found.cases}) < 2:
        return
    yield from _across(found, "group-leak", "the group", lambda case: case.group)
    if all(case.group == case.id for case in found.cases):
        place = found.listing or found.path
        yield finding("no-groups", found.name, place, f"each of the {len(found.cases)} cases is its own group")
        yield from _across(found, "id-leak", "ids that begin like", lambda case: person_of(case.id))


def _across(found: DataSet, kind: str, what: str, key: Callable[[Case], str | None]) -> Iterator[Finding]:
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
                f"{sum(case.split == split for case in cases)} in {split} (as {splits[split].id!r})" for split in splits
            )
            yield finding(kind, f"{found.name}: {held_out.id}", held_out.image, f"{what} {name!r} has cases {counts}")


def person_of(identity: str) -> str | None:
    """The part of an id that seems to name a patient or a scan: patient012 of patient012_frame01; None without one."""
    match = _PERSON.search(identity) or _PART.match(identity)
    return match[1].lower() if match else None


def _absent(found: DataSet, values: set[int]) -> Iterator[Finding]:
    named = {number: name for number, name in found.labels.items() if name != "ignore"}
    if values and found.listing is not None:
        for number in sorted(set(named) - values):
            what = f"declares {number} ({named[number]}), which no mask holds"
            yield finding("absent-label", found.name, found.listing, what)


@dataclass(frozen=True)
class _Pair:
    """Two cases, the second found later."""

    first: Case
    second: Case

    @property
    def across(self) -> bool:
        return self.first.split != self.second.split

    @property
    def related(self) -> bool:
        """Whether they are known to belong together, and lie on one side."""
        return self.first.group == self.second.group and not self.across

    def finding(self, kind: str, what: str) -> Finding:
        first, second = self.first, self.second
        said = f"{what} {first.image} ({first.split}); this one is in {second.split}"
        return finding(kind, f"{second.dataset}: {second.id}", second.image, f"{second.image}: {said}")


def _duplicates(seen: Sequence[tuple[Case, Looked]]) -> Iterator[Finding]:
    by_digest: dict[bytes, Case] = {}
    single: list[tuple[Case, NDArray[np.uint64]]] = []
    for case, looked in seen:
        before = by_digest.setdefault(looked.digest, case) if looked.digest else case
        pair = _Pair(before, case)
        if before is case:
            if looked.digest and looked.likeness is not None:
                single.append((case, looked.likeness))
        elif before.image != case.image or pair.across:
            yield pair.finding("image-leak" if pair.across else "duplicate", "the same pixels as")
    for pair, bits in _alike(single):
        if not pair.related:
            yield pair.finding("near-duplicate", f"all but {bits} of 256 bits of its hash are those of")


def _alike(single: Sequence[tuple[Case, NDArray[np.uint64]]]) -> Iterator[tuple[_Pair, int]]:
    """Of each case, the nearest before it whose hash differs in few bits."""
    if not single:
        return
    hashes = np.stack([likeness for _, likeness in single])
    for index in range(1, len(single)):
        bits = np.bitwise_count(hashes[:index] ^ hashes[index]).sum(axis=1)
        nearest = int(bits.argmin())
        if bits[nearest] <= MOST_BITS:
            yield _Pair(single[nearest][0], single[index][0]), int(bits[nearest])


def by_kind(findings: Iterable[Finding]) -> list[tuple[Check, list[Finding]]]:
    """Findings by kind, errors first."""
    groups: dict[str, list[Finding]] = defaultdict(list)
    for entry in findings:
        groups[entry.kind].append(entry)
    return [(check, groups[check.kind]) for check in _IN_ORDER if check.kind in groups]
