"""Bringing the catalogue up to date: the list, then arXiv, Crossref and PubMed for what it leaves
out.

Every step works on what the steps before gave; a feed that is down costs what it would have
brought, and nothing else. Records are never removed. A second run without news changes nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from segscope.catalogue import feeds, identify, store, upstream
from segscope.catalogue.feeds import Addresses, FeedResponse
from segscope.catalogue.fetch import Fetcher, FetchError
from segscope.catalogue.findings import Finding
from segscope.catalogue.merge import join, may_share, same_work, updated, without_identifier
from segscope.catalogue.record import Record
from segscope.catalogue.vocabulary import check_terms
from segscope.errors import ReadError, UsageError

FEEDS = ("upstream", "arxiv", "crossref", "pubmed")
Advance = Callable[[int, int], None]  # told after each step: (done, total)
NEWEST = 100
RELEVANT = 2.0
AGAIN_DAYS = 180
STATE = "state.json"
REPORT = "last_update.json"


@dataclass(frozen=True, slots=True)
class Settings:
    """One update as it was asked for.

    Attributes:
        folder: where the user's records are.
        day: today, ISO; what is written as the day a value was taken.
        which: feeds to ask, of FEEDS.
        limit: most records that Crossref and PubMed are asked about, each.
        links: whether links of new records are looked at.
    """

    folder: Path
    day: str
    which: tuple[str, ...] = FEEDS
    addresses: Addresses = field(default_factory=Addresses)
    limit: int = 50
    links: bool = True


@dataclass
class Report:
    """What an update did."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    queued: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    records: int = 0
    requests: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "findings": [asdict(finding) for finding in self.findings]}


def update(
    settings: Settings, fetcher: Fetcher, progress: Advance = lambda _done, _total: None
) -> Report:
    """Ask the feeds and write what they brought.

    Raises:
        UsageError: no such feed.
        ReadError: a file in the folder is damaged; nothing was changed.
    """
    if unknown := [name for name in settings.which if name not in FEEDS]:
        raise UsageError(f"no feed {unknown[0]!r}; known: {', '.join(FEEDS)}")
    run = _Run(settings, fetcher)
    steps: dict[str, Callable[[], None]] = {
        "upstream": run.upstream,
        "arxiv": run.arxiv,
        "crossref": run.crossref,
        "pubmed": run.pubmed,
    }
    for done, name in enumerate(settings.which, 1):
        try:
            steps[name]()
        except (FetchError, ReadError) as error:
            run.failed(name, error)
        progress(done, len(settings.which) + 1)
    if settings.links:
        run.look_at_links()
    progress(len(settings.which) + 1, len(settings.which) + 1)
    return run.finish()


class _Run:
    """Records while they are brought up to date."""

    def __init__(self, settings: Settings, fetcher: Fetcher) -> None:
        self.settings = settings
        self.fetcher = fetcher
        self.report = Report()
        self.before = store.known(settings.folder)
        self.records = dict(self.before)
        self.queue = {record.id: record for record in store.read(settings.folder / store.QUEUE)}
        self.state = _state(settings.folder / STATE)
        self.index = store.Catalogue(self.records.values())

    # --- steps -----------------------------------------------------------------------------------

    def upstream(self) -> None:
        body = self.fetcher.get(self.settings.addresses.upstream, accept="text/plain")
        rows, findings = upstream.parse(body.decode("utf-8", errors="replace"))
        made = [upstream.record_of(row, self.settings.day) for row in rows]
        works, merging = join([record for record, _ in made])
        self.report.findings += [
            *findings,
            *(each for _, found in made for each in found),
            *merging.findings,
        ]
        for work in works:
            self.take(work)
        seen = {identify.fold(row.title) for row in rows}
        gone = [
            record.id
            for record in self.before.values()
            if record.listed
            and not {identify.fold(text) for text in (record.title, *record.aliases)} & seen
        ]
        if rows and gone:
            said = f"{len(gone)} works stand no longer in the list, or under another title; kept: {', '.join(gone[:5])}"
            self.report.findings.append(Finding("gone from the list", "list", said))

    def arxiv(self) -> None:
        base = self.settings.addresses.arxiv
        asked = self.state.setdefault("arxiv", {})
        known = [record.arxiv.id for record in self.records.values() if record.arxiv]
        wanted = [identifier for identifier in known if self.due(asked.get(identifier))]
        for start in range(0, len(wanted), feeds.ARXIV_BATCH):
            batch = wanted[start : start + feeds.ARXIV_BATCH]
            answers = {
                answer.record.arxiv.id: answer
                for answer in self._arxiv(feeds.arxiv_by_id(base, batch))
                if answer.record.arxiv
            }
            for identifier in batch:
                if identifier in answers:
                    self.enrich(self.named(f"arxiv:{identifier}"), answers[identifier])
                else:
                    self.note(
                        "not found",
                        f"arxiv:{identifier}",
                        "arXiv knows no such work; the record was kept as it is",
                    )
                asked[identifier] = self.settings.day
        for answer in self._arxiv(feeds.arxiv_newest(base, NEWEST)):
            self.consider(answer)

    def _arxiv(self, url: str) -> list[FeedResponse]:
        body = self.fetcher.get(url, every_s=feeds.ARXIV_EVERY_S, accept="application/atom+xml")
        try:
            return feeds.arxiv_answers(body, self.settings.day)
        except ReadError:
            self.fetcher.forget(url)
            raise

    def crossref(self) -> None:
        base = self.settings.addresses.crossref

        def ask(record: Record) -> list[FeedResponse]:
            if record.doi:
                url = feeds.crossref_by_doi(base, record.doi)
            else:
                url = feeds.crossref_by_title(base, record)
            return self._json(
                url,
                feeds.CROSSREF_EVERY_S,
                lambda body: feeds.crossref_answers(body, self.settings.day),
            )

        for record in self._unasked(
            "crossref", lambda record: not (record.arxiv and not record.doi)
        ):
            self._matched("crossref", record, ask)

    def pubmed(self) -> None:
        base = self.settings.addresses.pubmed
        found: dict[str, str] = {}
        for record in self._unasked("pubmed", lambda record: not record.arxiv or bool(record.doi)):
            url = feeds.pubmed_search(base, record)
            ids = self._json(url, feeds.PUBMED_EVERY_S, feeds.pubmed_ids)
            found |= dict.fromkeys(ids, record.id)
            self.state["pubmed"][record.id] = self.settings.day
        wanted = list(found)
        for start in range(0, len(wanted), feeds.PUBMED_BATCH):
            url = feeds.pubmed_fetch(base, wanted[start : start + feeds.PUBMED_BATCH])
            answers = self._json(
                url,
                feeds.PUBMED_EVERY_S,
                lambda body: feeds.pubmed_answers(body, self.settings.day),
            )
            for answer in answers:
                held = None
                if answer.record.pmid in found:
                    held = self.records[found[answer.record.pmid]]
                if held and self.is_it(held, answer.record):
                    self.enrich(held, answer)

    def look_at_links(self) -> None:
        """Links of new records; a dead one is reported and kept, since servers come back."""
        if self.fetcher.offline:
            return
        looked = self.state.setdefault("links", {})
        for record in [self.records[name] for name in self.report.added]:
            for key, url in record.urls.items():
                if url in looked or (key == "paper" and record.arxiv):  # arXiv was asked by number
                    continue
                looked[url] = self.settings.day
                if why := self.fetcher.alive(url):
                    self.note("dead link", record.id, f"{key} {url}: {why}; the link was kept")

    # --- what steps share ------------------------------------------------------------------------

    def _json(self, url: str, every_s: float, parse: Callable[[bytes], Any]) -> Any:
        body = self.fetcher.get(url, every_s=every_s)
        try:
            return parse(body)
        except ReadError:
            self.fetcher.forget(url)
            raise

    def _unasked(self, feed: str, wanted: Callable[[Record], bool]) -> list[Record]:
        asked = self.state.setdefault(feed, {})
        return [r for r in self.records.values() if wanted(r) and self.due(asked.get(r.id))][
            : self.settings.limit
        ]

    def due(self, day: str | None) -> bool:
        """Whether something that was last asked for on a day may be asked for again."""
        try:
            return (
                date.fromisoformat(self.settings.day) - date.fromisoformat(day or "")
            ).days >= AGAIN_DAYS
        except (TypeError, ValueError):  # never, or the file of what was asked is damaged
            return True

    def _matched(
        self, feed: str, record: Record, ask: Callable[[Record], list[FeedResponse]]
    ) -> None:
        try:
            answers = ask(record)
        except FetchError as error:
            if getattr(error, "status", 0) != 404:
                raise
            self.note(
                "not found", record.id, f"{feed} does not know it; the record was kept as it is"
            )
            answers = []
        self.state[feed][record.id] = self.settings.day
        for answer in answers:
            if self.is_it(record, answer.record):
                self.enrich(record, answer)
                return

    def is_it(self, record: Record, other: Record) -> bool:
        """Whether a feed's answer is the work that was asked about."""
        if record.doi and record.doi == other.doi:
            if may_share(record, other):
                return True
            self.note(
                "disputed identifier",
                record.id,
                f"{record.doi} is {other.title[:70]!r} there; nothing was taken",
            )
            return False
        return identify.same_person(
            *(each.authors[0] if each.authors else None for each in (record, other))
        ) and (same_work(record, other))

    def named(self, name: str) -> Record:
        return next(r for r in self.records.values() if r.arxiv and f"arxiv:{r.arxiv.id}" == name)

    def enrich(self, record: Record, answer: FeedResponse) -> None:
        """Put into a record what a feed knows better."""
        new = answer.record
        if new.arxiv and not may_share(record, new):
            said = (
                f"arXiv calls it {new.title[:70]!r} by {new.byline}; the record was kept as it is"
            )
            self.note("disputed identifier", record.id, said)
            return
        if answer.withdrawn:
            self.note(
                "withdrawn", record.id, "arXiv says that it was withdrawn; the record was kept"
            )
        if (
            record.date
            and new.date
            and _months(record.date, new.date) > 1
            and new.provenance["date"].source == "arxiv"
        ):
            self.note(
                "wrong date", record.id, f"{record.date} here, {new.date} at arXiv, which was taken"
            )
        if record.arxiv and new.date and not new.arxiv:  # the first publication counts
            new = replace(
                new,
                provenance={key: value for key, value in new.provenance.items() if key != "date"},
            )
        if record.doi and new.doi and record.doi != new.doi:
            new = replace(
                new,
                provenance={key: value for key, value in new.provenance.items() if key != "doi"},
            )
        better = updated(record, replace(new, listed=(), aliases=()))
        self.put(upstream.tagged(better, self.settings.day, abstract=answer.abstract))

    def take(self, work: Record) -> None:
        """A work of the list: into the record that is the same work, or a new one."""
        found, work = self.same(work)
        if found is None:
            self.put(work)
            self.report.added.append(work.id)
            return
        if work.id != found.id:
            names = [work.id]
        else:
            names = []
        self.put(updated(found, replace(work, aliases=(*work.aliases, *names))))

    def same(self, work: Record) -> tuple[Record | None, Record]:
        """The record of a work, and the work without identifiers that are another's, which is
        reported.
        """
        names = [
            work.id,
            *([f"doi:{work.doi}"] if work.doi else []),
            *([f"arxiv:{work.arxiv.id}"] if work.arxiv else []),
        ]
        for name in names:
            if found := self.index.get(name):
                held = self.records[found.id]
                if may_share(held, work):
                    return held, work
                said = f"{name} is {held.title[:60]!r} here, and {work.title[:60]!r} in the list"
                self.note("disputed identifier", held.id, said)
                return self.same(without_identifier(work, names))
        return next(
            (record for record in self.records.values() if same_work(record, work)), None
        ), work

    def consider(self, answer: FeedResponse) -> None:
        """A find of the search: into the queue, unless it is known or not of the field."""
        found, _ = self.same(answer.record)
        if found is None and relevance(answer) >= RELEVANT and answer.record.id not in self.queue:
            record = upstream.tagged(answer.record, self.settings.day, abstract=answer.abstract)
            self.queue[record.id] = record
            self.report.queued.append(record.id)

    def put(self, record: Record) -> None:
        self.records[record.id] = record

    def note(self, kind: str, where: str, what: str) -> None:
        self.report.findings.append(Finding(kind, where, what))

    def failed(self, name: str, error: Exception) -> None:
        self.report.failed.append(name)
        self.note(
            "feed down", name, f"{str(error).rstrip('.')}. Nothing that it gave before was lost."
        )

    def finish(self) -> Report:
        """Write what differs from the snapshot, the queue, what was asked, and the report."""
        check_terms(self.records.values())
        folder = self.settings.folder
        report = self.report
        shipped = {record.id: record for record in store.snapshot()}
        report.added = [name for name in self.records if name not in self.before]
        report.changed = [
            name for name, record in self.before.items() if self.records[name] != record
        ]
        report.records = len(self.records)
        report.requests = self.fetcher.asked
        report.findings = list(dict.fromkeys(report.findings))
        brought = [record for record in self.records.values() if shipped.get(record.id) != record]
        store.write(folder / store.BROUGHT, store.lines(brought))
        store.write(folder / store.QUEUE, store.lines(self.queue.values()))
        store.write(folder / STATE, json.dumps(self.state, indent=1, sort_keys=True))
        store.write(folder / REPORT, json.dumps(report.as_dict(), indent=1, ensure_ascii=False))
        return report


def accept(folder: Path, names: Iterable[str]) -> list[Record]:
    """Move works from the queue into the catalogue.

    Raises:
        UsageError: a name that is not in the queue.
    """
    queue = {record.id: record for record in store.read(folder / store.QUEUE)}
    chosen = names
    if "all" in (names := list(names)):
        chosen = list(queue)
    if missing := [name for name in chosen if name not in queue]:
        raise UsageError(
            f"{missing[0]!r} is not in the queue; `segscope papers list --queue` shows what is"
        )
    brought = {record.id: record for record in store.read(folder / store.BROUGHT)}
    brought |= {name: queue.pop(name) for name in chosen}
    store.write(folder / store.BROUGHT, store.lines(brought.values()))
    store.write(folder / store.QUEUE, store.lines(queue.values()))
    return [brought[name] for name in chosen]


_WORDS = (
    (r"segment[- ]?anything|\bSAM ?[23]\b|\bSAM\b|medsam", 1.5),
    (r"promptable|interactive segment|prompt", 0.5),
    (
        r"medical|biomedical|clinical|radiolog|patholog|microscop|endoscop|surg|ultrasound|\bCT\b|\bMRI?\b",
        1.0,
    ),
    (r"segment", 0.25),
    (r"remote sensing|satellite|agricultur|crop|autonomous driving|industrial", -1.5),
)


def relevance(answer: FeedResponse) -> float:
    """How well a find fits the field: words of the title count twice those of the abstract."""
    title = answer.record.title
    abstract = answer.abstract
    return math.fsum(
        weight
        * (
            1.0
            if re.search(words, title, re.IGNORECASE)
            else 0.5
            if re.search(words, abstract, re.IGNORECASE)
            else 0
        )
        for words, weight in _WORDS
    )


def _months(one: str, other: str) -> int:
    first, second = ((int(text[:4]), int(text[5:7] or 1)) for text in (one, other))
    return abs((first[0] - second[0]) * 12 + first[1] - second[1])


def _state(path: Path) -> dict[str, Any]:
    """What was asked before, and when; a damaged file only costs asking again."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if isinstance(found, dict) and all(isinstance(each, dict) for each in found.values()):
        return found
    return {}
