"""De-duplication: which records are one work, and one record of several. Nothing is dropped without
being reported.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

from segscope.catalogue import identify
from segscope.catalogue.findings import Finding
from segscope.catalogue.record import Origin, Record

RANK = {"manual": 9, "crossref": 6, "arxiv": 5, "pubmed": 4, "sam4mis": 3, "rule": 1, "": 0}
LIKE = 0.95
LONG = 30  # letters of a folded title that two works hardly share by chance


@dataclass
class Merging:
    """What merging did: groups of ids that became one, and findings."""

    joined: list[tuple[str, ...]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def same_work(one: Record, other: Record) -> bool:
    """Whether two records without a common identifier are one work.

    Equal titles that are long; equal titles of one first author; nearly equal titles, or equal ones
    but for the name of the method before the colon, of one first author within two years.
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


def may_share(one: Record, other: Record) -> bool:
    """Whether two records that name the same identifier may: the title, or the first author, must
    agree.
    """
    return identify.alike(one.title, other.title) > LIKE or identify.same_person(
        _first(one), _first(other)
    )


def _first(record: Record) -> Any:
    if record.authors:
        return record.authors[0]
    return None


def join(records: Sequence[Record]) -> tuple[list[Record], Merging]:
    """Distinct works among records, in the order of their first appearance.

    An identifier that several works claim is taken from all of them and reported: one of the rows
        has a wrong link, and
    which one cannot be told from the list.
    """
    report = Merging()
    records = _without_disputed(records, report)
    parent = list(range(len(records)))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    for one, other in _pairs(records):
        if same_work(records[one], records[other]) or identifiers(records[one]) & identifiers(
            records[other]
        ):
            parent[max(root(one), root(other))] = min(root(one), root(other))
    groups: dict[int, list[Record]] = defaultdict(list)
    for at, record in enumerate(records):
        groups[root(at)].append(record)
    works = [combined(group) for group in groups.values()]
    for work, group in zip(works, groups.values(), strict=True):
        if len(group) > 1:
            report.joined.append(tuple(record.id for record in group))
            links = ", ".join(row.url for row in work.listed)
            report.findings.append(
                Finding("duplicate", work.id, f"{len(group)} rows are one work: {links}")
            )
    report.findings += near(works)
    return works, report


def identifiers(record: Record) -> set[str]:
    """ "arxiv:..." and "doi:..." of a record, what it has of them."""
    if record.arxiv:
        found = {f"arxiv:{record.arxiv.id}"}
    else:
        found = set()
    return found | ({f"doi:{record.doi}"} if record.doi else set())


def _pairs(records: Sequence[Record]) -> Iterator[tuple[int, int]]:
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


def _without_disputed(records: Sequence[Record], report: Merging) -> list[Record]:
    claims: dict[str, list[Record]] = defaultdict(list)
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
            Finding("disputed identifier", identifier, f"claimed by {titles}; taken by none")
        )
    return [without_identifier(record, disputed) for record in records]


def without_identifier(record: Record, disputed: Iterable[str]) -> Record:
    """The record without identifiers that are another work's."""
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
        changes.setdefault(name, "" if name == "doi" else None)
    return replace(record, **changes, provenance=origin)


def combined(group: Sequence[Record]) -> Record:
    """One record of several: the earliest date, the published version's venue and link, every
    identifier and row.
    """
    if len(group) == 1:
        return group[0]
    ordered = sorted(group, key=lambda record: (record.date or "9", record.id), reverse=True)
    published = next((record for record in ordered if not record.arxiv), ordered[0])
    dates = [record.date for record in group if record.date]
    result = replace(published, date=min(dates, default=""))
    for record in ordered:
        result = filled(result, record)
    ids = sorted(
        {record.id for record in group},
        key=lambda text: (not text.startswith("arxiv:"), "sam4mis" in text, text),
    )
    listed = tuple(dict.fromkeys(row for record in group for row in record.listed))
    titles = [
        record.title
        for record in group
        if identify.fold(record.title) != identify.fold(result.title)
    ]
    aliases = tuple(dict.fromkeys([*ids[1:], *titles, *result.aliases]))
    return replace(result, id=ids[0], listed=listed, aliases=aliases)


def filled(record: Record, other: Record) -> Record:
    """The record, with what it lacks from the other."""
    return _taking(record, other, lambda had, _new: had is None)


def updated(record: Record, other: Record) -> Record:
    """The record, with what it lacks and what the other knows better: from a better source, or the
    same and newer.
    """

    def better(had: Origin | None, new: Origin) -> bool:
        if had is None:
            return True
        if had.source != new.source:
            return RANK[new.source] > RANK[had.source]
        return (new.confidence or 1, new.at) >= (had.confidence or 1, had.at)

    return _taking(record, other, better)


def _taking(
    record: Record, other: Record, wanted: Callable[[Origin | None, Origin], bool]
) -> Record:
    changes: dict[str, Any] = {}
    origins = dict(record.provenance)
    urls = dict(record.urls)
    for name, origin in other.provenance.items():
        if not wanted(origins.get(name), origin):
            continue
        if name.startswith("urls."):
            key = name.removeprefix("urls.")
            if urls.get(key) != other.urls[key]:
                urls[key], origins[name] = other.urls[key], origin
        elif getattr(other, name) != getattr(record, name):
            changes[name], origins[name] = getattr(other, name), origin
            if name == "authors":
                changes["more_authors"] = other.more_authors
    if urls != dict(record.urls):
        changes["urls"] = urls
    if (title := changes.get("title")) and identify.fold(title) != identify.fold(record.title):
        changes["aliases"] = tuple(dict.fromkeys([*record.aliases, record.title]))
    listed = tuple(dict.fromkeys([*record.listed, *other.listed]))
    aliases = dict.fromkeys([*changes.get("aliases", record.aliases), *other.aliases])
    aliases.pop(changes.get("title", record.title), None)
    aliases.pop(record.id, None)
    changes |= {"listed": listed, "aliases": tuple(aliases)}
    return replace(record, **changes, provenance=origins)


def near(works: Sequence[Record]) -> list[Finding]:
    """Works that may be one, for a person to look at: titles alike, or alike but for the method's
    name.
    """
    found = []
    by_main: dict[str, list[Record]] = defaultdict(list)
    by_name: dict[str, list[Record]] = defaultdict(list)
    for work in works:
        by_main[identify.main_title(work.title)].append(work)
        name = identify.fold(work.title.partition(":")[0])
        by_name[f"{name}|{identify.fold(work.first)}"].append(work)
    for block in [*by_main.values(), *by_name.values()]:
        for one, other in combinations(block, 2):
            both = " and ".join(f"{each.title[:60]!r} ({each.byline})" for each in (one, other))
            said = f"{both} may be one work; both were kept"
            found.append(Finding("possible duplicate", f"{one.id} {other.id}", said))
    return list(dict.fromkeys(found))
