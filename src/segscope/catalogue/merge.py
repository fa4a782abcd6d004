"""De-duplication: which records describe the same work, and how they become one record.

Nothing is dropped without a finding that says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

from segscope.catalogue import identify
from segscope.catalogue.findings import CatalogueFinding
from segscope.catalogue.record import Author, Origin, PaperRecord

RANK = {"manual": 9, "crossref": 6, "arxiv": 5, "pubmed": 4, "sam4mis": 3, "rule": 1, "": 0}
LIKE = 0.95
LONG = 30  # letters of a folded title; two works hardly share so many by chance


@dataclass
class Merging:
    """What merging did: groups of ids that became one, and findings."""

    joined: list[tuple[str, ...]] = field(default_factory=list)
    findings: list[CatalogueFinding] = field(default_factory=list)


def same_work(one: PaperRecord, other: PaperRecord) -> bool:
    """Whether two records without a common identifier describe the same work.

    They do if their titles are equal and long; if the titles and the first author are equal; or if
    the first author is equal, the years are at most two apart and the titles are nearly equal, or
    differ only in the name of the method before the colon.
    """
    same_title = identify.fold(one.title) == identify.fold(other.title)
    if same_title and len(identify.fold(one.title)) >= LONG:
        return True
    if not identify.same_person(_first(one), _first(other)):
        return False
    if same_title:
        return True
    near_in_time = not one.year or not other.year or abs(one.year - other.year) <= 2
    same_main = identify.main_title(one.title) == identify.main_title(other.title)
    return near_in_time and (same_main or identify.alike(one.title, other.title) > LIKE)


def may_share(one: PaperRecord, other: PaperRecord) -> bool:
    """Whether two records may share an identifier: the title or the first author must agree."""
    if identify.alike(one.title, other.title) > LIKE:
        return True
    return identify.same_person(_first(one), _first(other))


def _first(record: PaperRecord) -> Author | None:
    if record.authors:
        return record.authors[0]
    return None


def join(records: Sequence[PaperRecord]) -> tuple[list[PaperRecord], Merging]:
    """Distinct works among records, in the order of their first appearance.

    An identifier that several works claim is removed from all of them and reported: one of the rows
    has a wrong link, and the list does not tell which.
    """
    report = Merging()
    records = _without_disputed(records, report)
    works = []
    for group in _group_same_works(records):
        work = combined(group)
        works.append(work)
        if len(group) > 1:
            report.joined.append(tuple(record.id for record in group))
            report.findings.append(_duplicate(work, len(group)))
    report.findings += near(works)
    return works, report


def _duplicate(work: PaperRecord, rows: int) -> CatalogueFinding:
    links = ", ".join(row.url for row in work.listed)
    return CatalogueFinding("duplicate", work.id, f"{rows} rows are one work: {links}")


class _DisjointSets:
    """Union-find over numbers; the smallest number of a set is its root."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number

    def union(self, one: int, other: int) -> None:
        low, high = sorted((self.root(one), self.root(other)))
        self._parent[high] = low


def _group_same_works(records: Sequence[PaperRecord]) -> list[list[PaperRecord]]:
    """Records of the same work together, in the order of their first appearance."""
    sets = _DisjointSets(len(records))
    for one, other in _pairs(records):
        first = records[one]
        second = records[other]
        if identifiers(first) & identifiers(second) or same_work(first, second):
            sets.union(one, other)
    groups: dict[int, list[PaperRecord]] = defaultdict(list)
    for number, record in enumerate(records):
        groups[sets.root(number)].append(record)
    return list(groups.values())


def identifiers(record: PaperRecord) -> set[str]:
    """The "arxiv:..." and "doi:..." identifiers that a record has."""
    names = set()
    if record.arxiv:
        names.add(f"arxiv:{record.arxiv.id}")
    if record.doi:
        names.add(f"doi:{record.doi}")
    return names


def _pairs(records: Sequence[PaperRecord]) -> Iterator[tuple[int, int]]:
    """Pairs worth comparing: a common identifier, title, or first author."""
    blocks: dict[str, list[int]] = defaultdict(list)
    for at, record in enumerate(records):
        keys = {
            identify.fold(record.title),
            f"by {identify.fold(record.first)}",
            *identifiers(record),
        }
        for key in keys:
            blocks[key].append(at)
    yield from {pair for block in blocks.values() for pair in combinations(block, 2)}


def _without_disputed(records: Sequence[PaperRecord], report: Merging) -> list[PaperRecord]:
    claims: dict[str, list[PaperRecord]] = defaultdict(list)
    for record in records:
        for identifier in identifiers(record):
            claims[identifier].append(record)
    disputed = {
        identifier: claimants
        for identifier, claimants in claims.items()
        if any(not may_share(one, other) for one, other in combinations(claimants, 2))
    }
    for identifier, claimants in sorted(disputed.items()):
        titles = " and ".join(sorted({repr(record.title[:70]) for record in claimants}))
        report.findings.append(
            CatalogueFinding(
                "disputed identifier", identifier, f"claimed by {titles}; removed from all"
            )
        )
    return [without_identifier(record, disputed) for record in records]


def without_identifier(record: PaperRecord, disputed: Iterable[str]) -> PaperRecord:
    """The record without identifiers that belong to another work."""
    lost = identifiers(record) & set(disputed)
    if not lost:
        return record
    dates = {row.date for row in record.listed if row.date}
    origin = dict(record.provenance)
    changes: dict[str, Any] = {"id": identify.slug(record.title, record.first)}
    if any(identifier.startswith("arxiv:") for identifier in lost):
        changes |= {"arxiv": None, "venue": None, "date": min(dates, default=record.date)}
        origin.pop("venue", None)
    for name in {identifier.partition(":")[0] for identifier in lost}:
        origin.pop(name, None)
    if any(identifier.startswith("doi:") for identifier in lost):
        changes["doi"] = ""
    return replace(record, **changes, provenance=origin)


def combined(group: Sequence[PaperRecord]) -> PaperRecord:
    """One record from several of the same work.

    It has the earliest date, the venue and link of the published version, and every identifier and
    row.
    """
    if len(group) == 1:
        return group[0]
    ordered = sorted(group, key=lambda record: (record.date or "9", record.id), reverse=True)
    published = next((record for record in ordered if not record.arxiv), ordered[0])
    dates = [record.date for record in group if record.date]
    result = replace(published, date=min(dates, default=""))
    for record in ordered:
        result = filled(result, record)
    ids = sorted({record.id for record in group}, key=_id_order)
    listed = tuple(dict.fromkeys(row for record in group for row in record.listed))
    title = identify.fold(result.title)
    titles = [record.title for record in group if identify.fold(record.title) != title]
    aliases = tuple(dict.fromkeys([*ids[1:], *titles, *result.aliases]))
    return replace(result, id=ids[0], listed=listed, aliases=aliases)


def _id_order(identifier: str) -> tuple[bool, bool, str]:
    """arXiv ids first, ids that segscope made last."""
    return (not identifier.startswith("arxiv:"), "sam4mis" in identifier, identifier)


def filled(record: PaperRecord, other: PaperRecord) -> PaperRecord:
    """The record, with missing values filled from the other."""
    return _merge_values(record, other, lambda current, _new: current is None)


def updated(record: PaperRecord, other: PaperRecord) -> PaperRecord:
    """The record, with values of the other that are missing here or come from a better source.

    Of the same source, the more confident or the newer value wins.
    """
    return _merge_values(record, other, _is_better)


def _is_better(current: Origin | None, new: Origin) -> bool:
    if current is None:
        return True
    if current.source != new.source:
        return RANK[new.source] > RANK[current.source]
    return (new.confidence or 1, new.at) >= (current.confidence or 1, current.at)


def _merge_values(
    record: PaperRecord, other: PaperRecord, prefer_other: Callable[[Origin | None, Origin], bool]
) -> PaperRecord:
    changes: dict[str, Any] = {}
    origins = dict(record.provenance)
    urls = dict(record.urls)
    for name, origin in other.provenance.items():
        if not prefer_other(origins.get(name), origin):
            continue
        if name.startswith("urls."):
            key = name.removeprefix("urls.")
            if urls.get(key) != other.urls[key]:
                urls[key] = other.urls[key]
                origins[name] = origin
        elif getattr(other, name) != getattr(record, name):
            changes[name] = getattr(other, name)
            origins[name] = origin
    if "authors" in changes:
        changes["more_authors"] = other.more_authors
    if urls != dict(record.urls):
        changes["urls"] = urls
    changes["listed"] = tuple(dict.fromkeys([*record.listed, *other.listed]))
    changes["aliases"] = _merge_aliases(record, other, changes.get("title", record.title))
    return replace(record, **changes, provenance=origins)


def _merge_aliases(record: PaperRecord, other: PaperRecord, title: str) -> tuple[str, ...]:
    """Other titles and ids of a record that is now called `title`."""
    aliases = dict.fromkeys(record.aliases)
    if identify.fold(title) != identify.fold(record.title):
        aliases[record.title] = None
    aliases |= dict.fromkeys(other.aliases)
    aliases.pop(title, None)
    aliases.pop(record.id, None)
    return tuple(aliases)


def near(works: Sequence[PaperRecord]) -> list[CatalogueFinding]:
    """Pairs of works that may be the same, for a person to check.

    Their titles are equal apart from the name of the method, or they have the same first author and
    name of the method.
    """
    findings = []
    by_main: dict[str, list[PaperRecord]] = defaultdict(list)
    by_name: dict[str, list[PaperRecord]] = defaultdict(list)
    for work in works:
        by_main[identify.main_title(work.title)].append(work)
        name = identify.fold(work.title.partition(":")[0])
        by_name[f"{name}|{identify.fold(work.first)}"].append(work)
    for block in [*by_main.values(), *by_name.values()]:
        for one, other in combinations(block, 2):
            findings.append(_possible_duplicate(one, other))
    return list(dict.fromkeys(findings))


def _possible_duplicate(one: PaperRecord, other: PaperRecord) -> CatalogueFinding:
    both = " and ".join(f"{each.title[:60]!r} ({each.byline})" for each in (one, other))
    message = f"{both} may be the same work; both stay"
    return CatalogueFinding("possible duplicate", f"{one.id} {other.id}", message)
