"""The Markdown list YichiZhang98/SAM4MIS: its tables to rows, its rows to records.

Only bibliographic facts are taken: date, authors, title, links. The list has no licence of its own
for its prose.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from segscope.catalogue import identify
from segscope.catalogue.findings import Finding
from segscope.catalogue.record import Arxiv, Listing, Origin, Record, with_origin
from segscope.catalogue.vocabulary import tags_in

SOURCE = "sam4mis"
TABLES = ("sam2", "sam", "datasets")
SURE, LIKELY = (
    0.9,
    0.6,
)  # a word of the title; a word of the abstract, or of the table that a row stands in

_LINK = re.compile(r"\[([^\[\]]*)\]\(\s*<?([^()\s>]*(?:\([^()\s]*\)[^()\s>]*)*)>?[^()]*\)")
_RULE = re.compile(r"^[\s|:-]+$")
_SHORT = 8  # characters of a title that is probably none


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands there: date "2024-08" or "" when it cannot be read, the rest as written."""

    date: str
    authors: str
    title: str
    url: str
    code: str
    table: str
    line: int = 0


def parse(markdown: str) -> tuple[list[Row], list[Finding]]:
    """Rows of all literature tables, and what could not be read as such."""
    rows: list[Row] = []
    findings: list[Finding] = []
    table = ""
    heading = ""
    for number, line in enumerate(markdown.splitlines(), 1):
        text = line.strip()
        if text.startswith("#"):
            heading = text
            table = ""
        if not text.startswith("|"):
            if text:
                table = ""
            continue
        cells = [cell.strip() for cell in text.removeprefix("|").removesuffix("|").split("|")]
        if (head := [cell.lower() for cell in cells])[:3] == ["date", "authors", "title"]:
            table = _table(heading, head)
        elif table and not _RULE.match(text):
            row, found = _row(cells, table, number)
            findings += found
            rows += [row] if row else []
    if not rows:
        findings.append(
            Finding(
                "no rows",
                "list",
                "no table with Date, Authors, Title was found; nothing was changed",
            )
        )
    return rows, findings


def _table(heading: str, head: Sequence[str]) -> str:
    if "dataset" in head[-1]:
        return "datasets"
    if re.search(r"SAM ?[23]", heading):
        return "sam2"
    return "sam"


def _row(cells: list[str], table: str, line: int) -> tuple[Row | None, list[Finding]]:
    where = f"line {line}"
    findings = []
    if len(cells) != 4:
        full = [cell for cell in cells if cell]
        if len(full) > 4 and _date(full[0]):  # a bar in the title
            full = [*full[:2], " | ".join(full[2:-1]), full[-1]]
        if len(full) not in (3, 4):
            return None, [
                Finding(
                    "malformed row",
                    where,
                    f"{len(cells)} cells, wanted 4; left out: {_short(cells)}",
                )
            ]
        said = f"{len(cells)} cells, wanted 4; read as: {_short(cells)}"
        findings.append(Finding("malformed row", where, said))
        cells = [*full, ""][:4]
    date_cell, people, title_cell, code_cell = cells
    link = _LINK.search(title_cell)
    title = " ".join(_LINK.sub("", title_cell).split())
    if len(identify.fold(title)) < _SHORT and link and "paper" not in link[1].lower():
        title = link[1].strip()  # the title itself is the link
    if len(identify.fold(title)) < _SHORT:
        return None, [
            *findings,
            Finding("malformed row", where, f"no title; left out: {_short(cells)}"),
        ]
    date = _date(date_cell)
    if not date:
        findings.append(
            Finding(
                "wrong date",
                where,
                f"{date_cell!r} is no year and month; {title[:60]!r} kept without",
            )
        )
    code = ""
    if found := _LINK.search(code_cell):
        code = found[2]
    return Row(date, people, title, link[2] if link else "", code, table, line), findings


def _date(cell: str) -> str:
    found = re.fullmatch(r"(20[12]\d)[-./]?(0[1-9]|1[0-2])", cell.strip())
    if found:
        return f"{found[1]}-{found[2]}"
    return ""


def _short(cells: Sequence[str]) -> str:
    text = " | ".join(cells)
    if len(text) <= 100:
        return text
    return f"{text[:97]}..."


def record_of(row: Row, day: str) -> tuple[Record, list[Finding]]:
    """The record of one row; findings about its date."""
    people, more = identify.authors(row.authors)
    arxiv = identify.arxiv_id(row.url)
    doi = identify.doi_of(row.url)
    paper = identify.paper_link(row.url)
    code = identify.link(row.code)
    findings = []
    date = row.date
    if arxiv and date != identify.arxiv_month(arxiv):
        date, found = _settled(row, arxiv)
        findings += [found] if found else []
    if arxiv:
        key = f"arxiv:{arxiv}"
    elif doi:
        key = f"doi:{doi}"
    else:
        key = ""
    if paper:
        urls = {"paper": paper}
    else:
        urls = {}
    if code:
        is_code = identify.repository(code) is not None
        urls[
            "data" if row.table == "datasets" and not is_code else "code" if is_code else "project"
        ] = code
    listing = Listing(row.table, row.date, row.url)
    title = row.title
    origin = Origin(SOURCE, day)
    record = Record(
        key or identify.slug(title, people[0].family if people else ""),
        title,
        more_authors=more,
        urls=urls,
        listed=(listing,),
        provenance={"title": origin, **{f"urls.{name}": origin for name in urls}},
    )
    values = {
        "authors": people,
        "date": date,
        "venue": None if arxiv else identify.venue_of(row.url),
        "doi": "" if arxiv else doi,
        "arxiv": Arxiv(arxiv) if arxiv else None,
        "code": identify.repository(code) if code else None,
    }
    record = with_origin(record, origin, **{name: value for name, value in values.items() if value})
    return tagged(record, day, table=row.table), findings


def _settled(row: Row, arxiv: str) -> tuple[str, Finding | None]:
    """The date where the list and the arXiv id differ: a month is usual around its end, more is an
    error.
    """
    month = identify.arxiv_month(arxiv)
    if not row.date:
        return month, None
    apart = abs((int(row.date[:4]) - int(month[:4])) * 12 + int(row.date[5:]) - int(month[5:]))
    if apart <= 1:
        return row.date, None
    said = f"the list says {row.date}, the arXiv id {arxiv} says {month}, which was taken"
    return month, Finding("wrong date", f"line {row.line}", said)


def tagged(record: Record, day: str, *, table: str = "", abstract: str = "") -> Record:
    """The record with the tags that rules find: in the title, else in the abstract (which is not
    kept), else by table.

    A tag that a person or a source gave is left alone.
    """
    in_title = tags_in(record.title)
    if abstract:
        in_abstract = tags_in(abstract)
    else:
        in_abstract = {}
    by_table = {"sam2": {"base_model": ("SAM2",)}, "datasets": {"task": ("dataset",)}}.get(
        table, {}
    )
    for tag, terms in {**by_table, **in_abstract, **in_title}.items():
        had = record.provenance.get(tag)
        sure = LIKELY
        if tag in in_title:
            sure = SURE
        better = had is None or (had.source == "rule" and sure >= (had.confidence or 0))
        if better and terms != getattr(record, tag):
            record = with_origin(record, Origin("rule", day, sure), **{tag: terms})
    return record
