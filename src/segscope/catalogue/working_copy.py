"""Records while they are being updated: which of them a new work is, what a feed adds to them, and
the queue of new works.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import chain

from segscope.catalogue import identify, people
from segscope.catalogue.disputes import disputes
from segscope.catalogue.feeds import FeedResponse
from segscope.catalogue.findings import CatalogueFinding
from segscope.catalogue.merge import filled, updated, without_identifier
from segscope.catalogue.record import PaperRecord
from segscope.catalogue.relevance import MIN_RELEVANCE, relevance
from segscope.catalogue.same_works import (
    first_author,
    identifiers,
    may_share,
    same_work,
    titles_of,
)
from segscope.catalogue.scope import is_in_scope
from segscope.catalogue.store import Catalogue
from segscope.catalogue.tags import tagged


@dataclass
class WorkingCopy:
    """Records by id, the queue by id, and what has been noted about them.

    Attributes:
        day: today, ISO; written as the day of new values.
        records: as they are now.
        queue: new works that no person has accepted or rejected yet.
        rejected: works that a person rejected.
        queued: ids of works that are new in the queue.
        off_topic: number of works of the lists that do not belong here.
        findings: what a person should look at.
    """

    day: str
    records: dict[str, PaperRecord]
    queue: dict[str, PaperRecord]
    rejected: dict[str, PaperRecord] = field(default_factory=dict)
    off_topic: int = 0
    queued: list[str] = field(default_factory=list)
    findings: list[CatalogueFinding] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._names = Catalogue(self.records.values())
        self._index: dict[str, list[str]] = defaultdict(list)
        for record in self._names:
            for key in _keys_of(record):
                self._index[key].append(record.id)

    def note(self, kind: str, where: str, what: str) -> None:
        """Add a finding."""
        self.findings.append(CatalogueFinding(kind, where, what))

    def by_arxiv(self, identifier: str) -> PaperRecord:
        """The record with an arXiv id."""
        for record in self.records.values():
            if record.arxiv and record.arxiv.id == identifier:
                return record
        raise KeyError(identifier)

    def add_listed(self, work: PaperRecord) -> None:
        """Merge a work of a list into the record of the same work, or put it into the queue.

        A row that was merged before only fills gaps.
        """
        record, work = self._find_same(work)
        if record is None:
            if is_in_scope(work):
                self._enqueue(work)
            else:
                self.off_topic += 1
            return
        if work.id != record.id:
            work = replace(work, aliases=(*work.aliases, work.id))
        merge = filled if set(work.listed) <= set(record.listed) else updated
        self.records[record.id] = merge(record, work)

    def consider(self, response: FeedResponse) -> None:
        """Put a search result into the queue, unless it is known or not relevant."""
        known, _ = self._find_same(response.record)
        if known is None and relevance(response) >= MIN_RELEVANCE:
            self._enqueue(tagged(response.record, self.day, abstract=response.abstract))

    def _enqueue(self, work: PaperRecord) -> None:
        """Put a new work into the queue, unless it is there or was rejected."""
        for other in (*self.queue.values(), *self.rejected.values()):
            if work.id == other.id or same_work(work, other):
                return
        self.queue[work.id] = work
        self.queued.append(work.id)

    def _find_same(self, work: PaperRecord) -> tuple[PaperRecord | None, PaperRecord]:
        """The record of a work, and the work without identifiers of another work, which are
        reported.
        """
        names = _names_of(work)
        for name in names:
            known = self._names.get(name)
            if known is None:
                continue
            record = self.records[known.id]
            if may_share(record, work):
                return record, work
            if name not in disputes():
                message = f"{record.title[:60]!r} here, and {work.title[:60]!r} in the list"
                self.note("disputed identifier", name, message)
            return self._find_same(without_identifier(work, names))
        for identifier in self._candidates(work):
            record = self.records[identifier]
            if same_work(record, work):
                return record, work
        return None, work

    def _candidates(self, work: PaperRecord) -> list[str]:
        """Ids of records with a title or the first author of a work."""
        ids = (self._index.get(key, ()) for key in _keys_of(work))
        return list(dict.fromkeys(chain.from_iterable(ids)))

    def is_same(self, record: PaperRecord, other: PaperRecord) -> bool:
        """Whether the answer of a feed is the work that was requested."""
        if record.doi and record.doi == other.doi:
            if may_share(record, other):
                return True
            message = f"{record.doi} is {other.title[:70]!r} there; nothing was copied"
            self.note("disputed identifier", record.id, message)
            return False
        is_same_author = people.same_person(first_author(record), first_author(other))
        return is_same_author and same_work(record, other)

    def enrich(self, record: PaperRecord, response: FeedResponse) -> None:
        """Copy into a record what a feed knows better."""
        new = response.record
        if new.arxiv and not may_share(record, new):
            message = f"arXiv has {new.title[:70]!r} by {new.byline}; the record is unchanged"
            self.note("disputed identifier", record.id, message)
            return
        if response.withdrawn:
            message = "withdrawn according to arXiv; the record stays in the catalogue"
            self.note("withdrawn", record.id, message)
        self._note_wrong_date(record, new)
        if record.arxiv and new.date and not new.arxiv:  # the date of the first publication counts
            new = _without_origin(new, "date")
        if record.doi and new.doi and record.doi != new.doi:
            new = _without_origin(new, "doi")
        better = updated(record, replace(new, listed=(), aliases=()))
        self.records[record.id] = tagged(better, self.day, abstract=response.abstract)

    def _note_wrong_date(self, record: PaperRecord, new: PaperRecord) -> None:
        if not record.date or not new.date or new.provenance["date"].source != "arxiv":
            return
        if abs(identify.months_between(record.date, new.date)) > 1:
            message = f"{record.date} here, {new.date} at arXiv, which is used"
            self.note("wrong date", record.id, message)

    def note_missing(self, listed_titles: Iterable[str], before: Iterable[PaperRecord]) -> None:
        """Report records of the list that it does not have any more.

        Args:
            listed_titles: titles that the list has now.
            before: records as they were before the update.
        """
        titles = set(map(identify.fold, listed_titles))
        if not titles:
            return
        gone = []
        for record in before:
            names = set(map(identify.fold, (record.title, *record.aliases)))
            if record.listed and titles.isdisjoint(names):
                gone.append(record.id)
        if gone:
            message = (
                f"{len(gone)} works are no longer in the list, or have another title there; they "
                f"stay in the catalogue: {', '.join(gone[:5])}"
            )
            self.note("gone from the list", "list", message)


def _keys_of(record: PaperRecord) -> set[str]:
    """What records of one work have in common: a title, or the names of the first author."""
    author = first_author(record)
    if author is None:
        return titles_of(record)
    names = (author.family.rpartition(" ")[2], author.given)
    return {*titles_of(record), *(f"by {identify.fold(name)}" for name in names)}


def _names_of(work: PaperRecord) -> list[str]:
    """The id of a work and its other identifiers, the DOI first."""
    return [work.id, *sorted(identifiers(work), reverse=True)]


def _without_origin(record: PaperRecord, name: str) -> PaperRecord:
    """The record without the origin of a field, so that merging does not use its value."""
    origins = dict(record.provenance)
    origins.pop(name, None)
    return replace(record, provenance=origins)
