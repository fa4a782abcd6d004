"""De-duplication: how records of the same work become one record.

Nothing is dropped without a finding that says so.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, combinations, starmap
from typing import Any

from segscope.catalogue import identify, people
from segscope.catalogue.disputes import disputes
from segscope.catalogue.findings import CatalogueFinding
from segscope.catalogue.record import Author, Origin, PaperRecord
from segscope.catalogue.same_works import (
    first_author,
    identifiers,
    may_share,
    near,
    same_work,
)

RANK = {
    "manual": 9,
    "crossref": 6,
    "arxiv": 5,
    "pubmed": 4,
    "awesome": 3,
    "sam4mis": 2,
    "rule": 1,
    "": 0,
}
LISTS = {"awesome", "sam4mis"}


@dataclass
class Merging:
    """What merging did: groups of ids that became one, and findings."""

    joined: list[tuple[str, ...]] = field(default_factory=list)
    findings: list[CatalogueFinding] = field(default_factory=list)


def join(records: Sequence[PaperRecord]) -> tuple[list[PaperRecord], Merging]:
    """Distinct works among records, in the order of their first appearance.

    An identifier that several works claim belongs to that of the better source, and is removed from
    the others; it is removed from all where one list gives it twice, since one of the rows has a
    wrong link, and the list does not tell which. First authors that differ are reported.
    """
    report = Merging()
    records = _without_disputed(records, report)
    works = []
    for group in _group_same_works(records):
        work = combined(group)
        works.append(work)
        if len(group) > 1:
            report.joined.append(tuple(record.id for record in group))
            report.findings += _duplicates(work, group)
    report.findings += near(works)
    return works, report


def source_of(record: PaperRecord) -> str:
    """The source of the title, which names the work."""
    return record.provenance.get("title", Origin("", "")).source


def _duplicates(work: PaperRecord, group: Sequence[PaperRecord]) -> Iterator[CatalogueFinding]:
    """Several rows of one list, and differing first authors."""
    lists = Counter(map(source_of, group))
    if max(lists.values()) > 1:
        links = ", ".join(row.url for row in work.listed)
        yield CatalogueFinding("duplicate", work.id, f"{len(group)} rows are one work: {links}")
    firsts = list(filter(None, map(first_author, group)))
    if not all(starmap(people.same_person, combinations(firsts, 2))):
        names = " and ".join(sorted(set(map(str, firsts))))
        message = f"{names} are given as first author; {work.authors[0]} is used"
        yield CatalogueFinding("disputed author", work.id, message)


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
    yield from set(chain.from_iterable(combinations(block, 2) for block in blocks.values()))


def _without_disputed(records: Sequence[PaperRecord], report: Merging) -> list[PaperRecord]:
    claims: dict[str, list[PaperRecord]] = defaultdict(list)
    for record in records:
        for identifier in identifiers(record):
            claims[identifier].append(record)
    disputed = {
        identifier: claimants
        for identifier, claimants in claims.items()
        if not _all_may_share(claimants)
    }
    lost: dict[int, set[str]] = defaultdict(set)
    for identifier, claimants in sorted(disputed.items()):
        owner = _owner(identifier, claimants)
        for record in claimants:
            if owner is None or not may_share(owner, record):
                lost[id(record)].add(identifier)
        report.findings.append(_disputed(identifier, claimants, owner))
    return [without_identifier(record, lost[id(record)]) for record in records]


def _owner(identifier: str, claimants: Sequence[PaperRecord]) -> PaperRecord | None:
    """The work to which an identifier belongs: as a person decided, or that of the better source,
    if it is alone.
    """
    decision = disputes().get(identifier)
    if decision and decision.title:
        title = identify.fold(decision.title)
        return next((one for one in claimants if identify.fold(one.title) == title), None)
    best_rank = max(map(_rank, claimants))
    best = [record for record in claimants if _rank(record) == best_rank]
    if _all_may_share(best):
        return best[0]
    return None


def _all_may_share(claimants: Iterable[PaperRecord]) -> bool:
    return all(starmap(may_share, combinations(claimants, 2)))


def _rank(record: PaperRecord) -> int:
    """Rank of the source of the title."""
    return RANK[source_of(record)]


def _disputed(
    identifier: str, claimants: Sequence[PaperRecord], owner: PaperRecord | None
) -> CatalogueFinding:
    titles = " and ".join(sorted({repr(record.title[:70]) for record in claimants}))
    result = "removed from all"
    if owner is not None:
        result = f"it belongs to {owner.title[:70]!r}"
    return CatalogueFinding("disputed identifier", identifier, f"claimed by {titles}; {result}")


def without_identifier(record: PaperRecord, disputed: Iterable[str]) -> PaperRecord:
    """The record without identifiers that belong to another work, and without the link to it."""
    lost = identifiers(record) & set(disputed)
    if not lost:
        return record
    dates = filter(None, (row.date for row in record.listed))
    origin = dict(record.provenance)
    changes: dict[str, Any] = {"id": identify.slug(record.title, record.first, source_of(record))}
    kinds = {identifier.partition(":")[0] for identifier in lost}
    for kind in kinds:
        origin.pop(kind, None)
    if "arxiv" in kinds:
        changes |= {"arxiv": None, "venue": None, "date": min(dates, default=record.date)}
        origin.pop("venue", None)
    if "doi" in kinds:
        changes["doi"] = ""
    if _leads_to(record.urls.get("paper", ""), lost):
        changes["urls"] = dict(record.urls)
        del changes["urls"]["paper"]
        origin.pop("urls.paper", None)
    return replace(record, **changes, provenance=origin)


def _leads_to(url: str, names: Iterable[str]) -> bool:
    """Whether a link has one of these identifiers."""
    return not {f"arxiv:{identify.arxiv_id(url)}", f"doi:{identify.doi_of(url)}"}.isdisjoint(names)


def combined(group: Sequence[PaperRecord]) -> PaperRecord:
    """One record from several of the same work.

    It has the earliest date, the venue and link of the published version, the longest list of
    authors, and every identifier and row.
    """
    if len(group) == 1:
        return group[0]
    ordered = sorted(group, key=_order, reverse=True)
    published = next((record for record in ordered if not record.arxiv), ordered[0])
    dates = filter(None, (record.date for record in group))
    result = replace(published, date=min(dates, default=""))
    for record in ordered:
        result = filled(result, record)
    ids = sorted({record.id for record in group}, key=_id_order)
    decision = disputes().get(ids[0])
    if decision and decision.first_author:
        group = list(filter(partial(_is_first, decision.first_author), group)) or group
    result = _with_authors(result, group)
    listed = tuple(dict.fromkeys(chain.from_iterable(record.listed for record in ordered)))
    title = identify.fold(result.title)
    titles = [record.title for record in ordered if identify.fold(record.title) != title]
    aliases = tuple(dict.fromkeys([*ids[1:], *titles, *result.aliases]))
    return replace(result, id=ids[0], listed=listed, aliases=aliases)


def _is_first(name: str, record: PaperRecord) -> bool:
    return people.same_person(people.author(name), first_author(record))


def _order(record: PaperRecord) -> tuple[int, str, str]:
    """Sorts the better source first, and of one source the newer row."""
    return (_rank(record), record.date or "9", record.id)


def _with_authors(result: PaperRecord, group: Sequence[PaperRecord]) -> PaperRecord:
    """The record with the authors of the best list: whole, of the better source, long."""
    best = max(group, key=_author_quality)
    if not best.authors:
        return result
    authors = best.authors
    for record in group:
        if record.authors and _is_family_first(authors[0], record.authors[0]):
            authors = tuple(Author(person.given, person.family) for person in authors)
            break
    origin = best.provenance["authors"]
    changed = replace(result, authors=authors, more_authors=best.more_authors)
    return replace(changed, provenance={**result.provenance, "authors": origin})


def _author_quality(record: PaperRecord) -> tuple[bool, bool, int, int, int]:
    """Sorts lists of authors: by hand, whole, of the better source, spelled out, long."""
    origin = record.provenance.get("authors", Origin("", ""))
    by_hand = origin.source == "manual"
    whole = bool(record.authors) and not record.more_authors
    spelled_out = sum(len(person.given) > len("A.") for person in record.authors)
    return (by_hand, whole, RANK[origin.source], spelled_out, len(record.authors))


def _is_family_first(written: Author, abbreviated: Author) -> bool:
    """Whether "Wang Xinyi" is written for the person that another list calls "X. Wang"."""
    is_initial = abbreviated.given.endswith(".")
    return is_initial and people.is_swapped(written, abbreviated)


def _id_order(identifier: str) -> tuple[int, str]:
    """arXiv ids first, ids that segscope made last."""
    kinds = ("arxiv", "doi", "sam4mis", "awesome")
    return (kinds.index(identifier.partition(":")[0]), identifier)


def filled(record: PaperRecord, other: PaperRecord) -> PaperRecord:
    """The record, with missing values filled from the other."""
    return _merge_values(record, other, lambda name: name not in record.provenance)


def updated(record: PaperRecord, other: PaperRecord) -> PaperRecord:
    """The record, with values of the other that are missing here or come from a better source.

    Of the same source, the more confident or the newer value wins. A whole list of authors replaces
    an incomplete one, and never the other way round; of two lists, the earlier date counts.
    """

    def is_better(name: str) -> bool:
        current = record.provenance.get(name)
        new = other.provenance[name]
        if current is None:
            return True
        if name == "authors" and record.more_authors is not other.more_authors:
            return record.more_authors and current.source != "manual"
        if name == "date" and {current.source, new.source} <= LISTS:
            return other.date < record.date
        return _is_better(current, new)

    return _merge_values(record, other, is_better)


def _is_better(current: Origin, new: Origin) -> bool:
    if current.source != new.source:
        return RANK[new.source] > RANK[current.source]
    return (new.confidence or 1, new.at) >= (current.confidence or 1, current.at)


def _merge_values(
    record: PaperRecord, other: PaperRecord, prefers_other: Callable[[str], bool]
) -> PaperRecord:
    changes: dict[str, Any] = {}
    origins = dict(record.provenance)
    urls = dict(record.urls)
    for name, origin in other.provenance.items():
        if not prefers_other(name):
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
