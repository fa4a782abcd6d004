"""Rows of the lists of literature, and the records that they become.

Only bibliographic facts are used: date, authors, title, venue, links.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from segscope.catalogue import identify, people, venues
from segscope.catalogue.findings import CatalogueFinding
from segscope.catalogue.record import Arxiv, ListRow, Origin, PaperRecord, with_origin
from segscope.catalogue.tags import tagged

AWESOME = "awesome"
"""The list liliu-avril/Awesome-Segment-Anything, and the table of its rows."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: date as "2024-08", or "" if it cannot be read; everything else as written.

    Attributes:
        name: short name of the method; "" where the list has none.
        venue: journal or conference and year; "" where the list has none.
        table: "sam2", "sam" or "datasets" of SAM4MIS, or "awesome".
        line: number of its line in the list.
    """

    date: str
    authors: str
    title: str
    url: str
    code: str
    table: str
    line: int = 0
    name: str = ""
    venue: str = ""

    @property
    def source(self) -> str:
        """The list that has the row."""
        if self.table == AWESOME:
            return AWESOME
        return "sam4mis"


def record_of(row: Row, day: str) -> tuple[PaperRecord, list[CatalogueFinding]]:
    """The record of one row; findings about its date."""
    title = identify.tidy(row.title)
    authors, more = people.authors(row.authors)
    arxiv = identify.arxiv_id(row.url)
    doi = identify.doi_of(row.url)
    origin = Origin(row.source, day)
    date, findings = _choose_date(row, arxiv)
    urls = _urls(row)
    first_author = next((person.family for person in authors), "")
    record = PaperRecord(
        _choose_id(arxiv, doi) or identify.slug(title, first_author, row.source),
        title,
        more_authors=more,
        urls=urls,
        listed=(ListRow(row.table, row.date, row.url),),
        provenance={"title": origin, **{f"urls.{name}": origin for name in urls}},
    )
    values: dict[str, Any] = {
        "authors": authors,
        "date": date,
        "code": identify.repository(row.code),
        "name": _name(row),
        "venue": venues.listed_venue(row.venue, row.url),
    }
    if arxiv:
        values["arxiv"] = Arxiv(arxiv)
    else:
        values["venue"] = values["venue"] or venues.venue_of(row.url)
        values["doi"] = doi
    known = {name: value for name, value in values.items() if value}
    record = with_origin(record, origin, **known)
    return tagged(record, day, table=row.table), findings


def _name(row: Row) -> str:
    """The short name, where the title does not contain it."""
    if identify.fold(row.name) in identify.fold(row.title):
        return ""
    return row.name


def _choose_id(arxiv: str, doi: str) -> str:
    if arxiv:
        return f"arxiv:{arxiv}"
    if doi:
        return f"doi:{doi}"
    return ""


def _urls(row: Row) -> dict[str, str]:
    urls = {}
    paper = identify.paper_link(row.url)
    if paper:
        urls["paper"] = paper
    code = identify.link(row.code)
    if not code:
        return urls
    key = "project"
    if identify.repository(code):
        key = "code"
    elif row.table == "datasets":
        key = "data"
    urls[key] = code
    return urls


def _choose_date(row: Row, arxiv: str) -> tuple[str, list[CatalogueFinding]]:
    """The date of a row, or the month of its arXiv id where the date lies before it or more than a
    month behind it: lists are often a month late, but no work is listed before it exists. The
    second list gives the month of listing, so that the arXiv id tells better.
    """
    if not arxiv:
        return row.date, []
    month = identify.arxiv_month(arxiv)
    if not row.date:
        return month, []
    if 0 <= identify.months_between(month, row.date) <= 1:
        if row.table == AWESOME:
            return month, []
        return row.date, []
    message = f"{row.date} in the list, {month} by the arXiv id {arxiv}, which is used"
    return month, [CatalogueFinding("wrong date", f"line {row.line}", message)]


def mend_date(record: PaperRecord, day: str) -> PaperRecord:
    """The record, dated with the month of its arXiv id where its date lies before it; a work that
    was published elsewhere may be older than its preprint.
    """
    if not record.arxiv or not record.date or len(record.date) > len("2024-08"):
        return record
    if not all(identify.arxiv_id(row.url) for row in record.listed):
        return record
    month = identify.arxiv_month(record.arxiv.id)
    if record.date >= month[: len(record.date)]:
        return record
    return with_origin(record, Origin("rule", day, 1.0), date=month)
