"""Updating the catalogue: both lists, then arXiv, Crossref and PubMed for what they leave out.

Every step works on the results of the steps before; if a feed fails, only its own results are
missing. New works wait in a queue for a person; records are never removed. A second run without
news changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from itertools import filterfalse
from pathlib import Path
from typing import Any, TypeVar

from segscope.catalogue import awesome, feeds, sam4mis, store
from segscope.catalogue.disputes import disputes
from segscope.catalogue.feeds import Addresses, FeedResponse
from segscope.catalogue.fetch import Fetcher, FetchError
from segscope.catalogue.findings import CatalogueFinding
from segscope.catalogue.merge import join
from segscope.catalogue.record import PaperRecord
from segscope.catalogue.rows import Row, record_of
from segscope.catalogue.vocabulary import check_terms
from segscope.catalogue.working_copy import WorkingCopy
from segscope.errors import ReadError, UsageError

FEEDS = ("sam4mis", "awesome", "arxiv", "crossref", "pubmed")
Progress = Callable[[int, int], None]
NEWEST = 100
"""Number of the newest works of arXiv that are considered for the queue."""

ASK_AGAIN_DAYS = 180
STATE = "state.json"
REPORT = "last_update.json"

Days = dict[str, str]
"""Day of the last request, by what was requested."""

Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class UpdateSettings:
    """UpdateSettings of an update.

    Attributes:
        folder: where the user's records are.
        day: today, ISO; written as the day of new values.
        which: feeds to use, of FEEDS.
        addresses: of the feeds.
        limit: maximum number of records to look up at Crossref and at PubMed.
        links: whether the links of new works are checked.
    """

    folder: Path
    day: str
    which: tuple[str, ...] = FEEDS
    addresses: Addresses = field(default_factory=Addresses)
    limit: int = 50
    links: bool = True


@dataclass
class UpdateReport:
    """What an update did.

    Attributes:
        changed, queued: ids of records, and of new works in the queue.
        off_topic: number of works of the lists that do not belong here.
        findings: what a person should look at.
        failed: feeds that did not answer.
        records: number of records in the catalogue.
        requests: number of requests sent.
    """

    changed: list[str] = field(default_factory=list)
    queued: list[str] = field(default_factory=list)
    findings: list[CatalogueFinding] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    off_topic: int = 0
    records: int = 0
    requests: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def update(
    settings: UpdateSettings, fetcher: Fetcher, progress: Progress = lambda _done, _total: None
) -> UpdateReport:
    """Query the feeds, and write new records and values into the folder.

    Raises:
        UsageError: no such feed.
        ReadError: a file in the folder is damaged; nothing was changed.
    """
    unknown = [name for name in settings.which if name not in FEEDS]
    if unknown:
        raise UsageError(f"no feed {unknown[0]!r}; known: {', '.join(FEEDS)}")
    run = _Update(settings, fetcher)
    steps: dict[str, Callable[[], None]] = {
        "sam4mis": run.read_sam4mis,
        "awesome": run.read_awesome,
        "arxiv": run.query_arxiv,
        "crossref": run.query_crossref,
        "pubmed": run.query_pubmed,
    }
    total = len(settings.which) + 1
    for done, name in enumerate(settings.which, 1):
        try:
            steps[name]()
        except (FetchError, ReadError) as error:
            run.note_failure(name, error)
        progress(done, total)
    if settings.links:
        run.check_links()
    progress(total, total)
    return run.finish()


class _Update:
    """One update: the steps, and what they share."""

    def __init__(self, settings: UpdateSettings, fetcher: Fetcher) -> None:
        folder = settings.folder
        self.settings = settings
        self.fetcher = fetcher
        self.failed: list[str] = []
        self.before = store.known(folder)
        queue = {record.id: record for record in store.read(folder / store.QUEUE)}
        rejected = {record.id: record for record in store.read(folder / store.REJECTED)}
        self.copy = WorkingCopy(settings.day, dict(self.before), queue, rejected)
        self.state = _read_state(folder / STATE)

    # --- the lists -------------------------------------------------------------------------------

    def read_sam4mis(self) -> None:
        rows, findings = sam4mis.parse(self._fetch_list(self.settings.addresses.sam4mis))
        self._add_rows(rows, findings)
        self.copy.note_missing([row.title for row in rows], self.before.values())

    def read_awesome(self) -> None:
        address = self.settings.addresses.awesome
        first_page = self._fetch_list(address)
        rows, findings = awesome.parse(first_page)
        for file in awesome.files(first_page, address):
            more_rows, more_findings = awesome.parse(self._fetch_list(file), file.split("/")[-1])
            rows += more_rows
            findings += more_findings
        if not rows:
            message = "there is no entry with authors, a quoted title and links"
            findings.append(CatalogueFinding("no rows", "awesome", message))
        self._add_rows(rows, findings)

    def _fetch_list(self, address: str) -> str:
        body = self.fetcher.get(address, accept="text/plain")
        return body.decode("utf-8", errors="replace")

    def _add_rows(self, rows: Sequence[Row], findings: list[CatalogueFinding]) -> None:
        """Add the rows of one list; findings about rows that are in the catalogue, and about
        identifiers that a person decided on, are not repeated.
        """
        merged = {row for record in self.before.values() for row in record.listed}
        records = []
        for row in rows:
            record, row_findings = record_of(row, self.settings.day)
            records.append(record)
            if not merged.issuperset(record.listed):
                findings += row_findings
        works, merging = join(records)
        findings += filterfalse(self._is_known, merging.findings)
        self.copy.findings += findings
        for work in works:
            self.copy.add_listed(work)

    def _is_known(self, finding: CatalogueFinding) -> bool:
        if finding.kind == "disputed identifier":
            return finding.where in disputes()
        return all(name in self.before for name in finding.where.split())

    # --- arXiv -----------------------------------------------------------------------------------

    def query_arxiv(self) -> None:
        base = self.settings.addresses.arxiv
        days = self._days("arxiv")
        known = [record.arxiv.id for record in self.copy.records.values() if record.arxiv]
        due = [identifier for identifier in known if self._is_due(days.get(identifier))]
        for batch in _batches(due, feeds.ARXIV_BATCH):
            self._query_arxiv_batch(batch, days)
        for response in self._fetch_atom(feeds.arxiv_newest(base, NEWEST)):
            self.copy.consider(response)

    def _query_arxiv_batch(self, identifiers: Sequence[str], days: Days) -> None:
        url = feeds.arxiv_by_id(self.settings.addresses.arxiv, identifiers)
        responses: dict[str, FeedResponse] = {}
        for response in self._fetch_atom(url):
            if response.record.arxiv:
                responses[response.record.arxiv.id] = response
        for identifier in identifiers:
            if identifier in responses:
                self.copy.enrich(self.copy.by_arxiv(identifier), responses[identifier])
            else:
                message = "arXiv has no such work; the record is unchanged"
                self.copy.note("not found", f"arxiv:{identifier}", message)
            days[identifier] = self.settings.day

    def _fetch_atom(self, url: str) -> list[FeedResponse]:
        body = self.fetcher.get(url, every_s=feeds.ARXIV_EVERY_S, accept="application/atom+xml")
        return self._parse(url, body, lambda body: feeds.arxiv_answers(body, self.settings.day))

    # --- Crossref --------------------------------------------------------------------------------

    def query_crossref(self) -> None:
        days = self._days("crossref")
        for record in self._select_due(self._published(), days):
            responses = self._look_up(record)
            days[record.id] = self.settings.day
            for response in responses:
                if self.copy.is_same(record, response.record):
                    self.copy.enrich(record, response)
                    break

    def _look_up(self, record: PaperRecord) -> list[FeedResponse]:
        base = self.settings.addresses.crossref
        if record.doi:
            url = feeds.crossref_by_doi(base, record.doi)
        else:
            url = feeds.crossref_by_title(base, record)
        try:
            body = self.fetcher.get(url, every_s=feeds.CROSSREF_EVERY_S)
        except FetchError as error:
            if error.status != 404:
                raise
            message = "Crossref has no such work; the record is unchanged"
            self.copy.note("not found", record.id, message)
            return []
        return self._parse(url, body, lambda body: feeds.crossref_answers(body, self.settings.day))

    # --- PubMed ----------------------------------------------------------------------------------

    def query_pubmed(self) -> None:
        base = self.settings.addresses.pubmed
        days = self._days("pubmed")
        owners: dict[str, str] = {}  # record id by PubMed id
        for record in self._select_due(self._published(), days):
            url = feeds.pubmed_search(base, record)
            ids = self._fetch_pubmed(url, feeds.pubmed_ids)
            owners |= dict.fromkeys(ids, record.id)
            days[record.id] = self.settings.day
        for batch in _batches(list(owners), feeds.PUBMED_BATCH):
            url = feeds.pubmed_fetch(base, batch)
            for response in self._fetch_pubmed(url, self._parse_articles):
                self._enrich_owner(response, owners)

    def _parse_articles(self, body: bytes) -> list[FeedResponse]:
        return feeds.pubmed_answers(body, self.settings.day)

    def _fetch_pubmed(self, url: str, parse: Callable[[bytes], list[Parsed]]) -> list[Parsed]:
        body = self.fetcher.get(url, every_s=feeds.PUBMED_EVERY_S)
        return self._parse(url, body, parse)

    def _enrich_owner(self, response: FeedResponse, owners: dict[str, str]) -> None:
        owner = owners.get(response.record.pmid)
        if owner is None:
            return
        record = self.copy.records[owner]
        if self.copy.is_same(record, response.record):
            self.copy.enrich(record, response)

    # --- links -----------------------------------------------------------------------------------

    def check_links(self) -> None:
        """Check the links of new works; a dead link is reported but stays, as servers return."""
        if self.fetcher.offline:
            return
        days = self._days("links")
        for name in self.copy.queued:
            record = self.copy.queue[name]
            for key, url in record.urls.items():
                is_arxiv = key == "paper" and record.arxiv  # arXiv was queried by number
                if url not in days and not is_arxiv:
                    days[url] = self.settings.day
                    self._check_link(record, key, url)

    def _check_link(self, record: PaperRecord, key: str, url: str) -> None:
        reason = self.fetcher.alive(url)
        if reason:
            self.copy.note("dead link", record.id, f"{key} {url}: {reason}; the link is unchanged")

    # --- shared ----------------------------------------------------------------------------------

    def _parse(self, url: str, body: bytes, parse: Callable[[bytes], list[Parsed]]) -> list[Parsed]:
        """The parsed body; one that is not usable does not stay in the cache."""
        try:
            return parse(body)
        except ReadError:
            self.fetcher.forget(url)
            raise

    def _days(self, feed: str) -> Days:
        return self.state.setdefault(feed, {})

    def _published(self) -> list[PaperRecord]:
        """Records of works that are not known as preprints only."""
        return [record for record in self.copy.records.values() if record.doi or not record.arxiv]

    def _select_due(self, records: Iterable[PaperRecord], days: Days) -> list[PaperRecord]:
        due = [record for record in records if self._is_due(days.get(record.id))]
        return due[: self.settings.limit]

    def _is_due(self, day: str | None) -> bool:
        """Whether something last requested on a day may be requested again."""
        try:
            last = date.fromisoformat(day or "")
        except (TypeError, ValueError):  # never, or the state is damaged
            return True
        return (date.fromisoformat(self.settings.day) - last).days >= ASK_AGAIN_DAYS

    def note_failure(self, feed: str, error: Exception) -> None:
        self.failed.append(feed)
        message = f"{str(error).rstrip('.')}. Its earlier results are unchanged."
        self.copy.note("feed down", feed, message)

    def finish(self) -> UpdateReport:
        """Write the records that differ from the snapshot, the queue, the state and the report."""
        records = self.copy.records
        check_terms([*records.values(), *self.copy.queue.values()])
        report = UpdateReport(
            changed=[name for name, record in self.before.items() if records[name] != record],
            queued=self.copy.queued,
            findings=list(dict.fromkeys(self.copy.findings)),
            failed=self.failed,
            off_topic=self.copy.off_topic,
            records=len(records),
            requests=self.fetcher.requests,
        )
        shipped = {record.id: record for record in store.snapshot()}
        brought = [record for record in records.values() if shipped.get(record.id) != record]
        folder = self.settings.folder
        store.write(folder / store.BROUGHT, store.lines(brought))
        store.write(folder / store.QUEUE, store.lines(self.copy.queue.values()))
        store.write(folder / STATE, json.dumps(self.state, indent=1, sort_keys=True))
        store.write(folder / REPORT, json.dumps(report.as_dict(), indent=1, ensure_ascii=False))
        return report


def _batches(names: Sequence[str], size: int) -> list[Sequence[str]]:
    return [names[start : start + size] for start in range(0, len(names), size)]


def _read_state(path: Path) -> dict[str, Days]:
    """What was requested, and when; if the file is damaged, everything is requested again."""
    try:
        state = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if isinstance(state, dict) and all(isinstance(days, dict) for days in state.values()):
        return state
    return {}
