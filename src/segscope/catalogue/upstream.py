"""The Markdown list YichiZhang98/SAM4MIS: its tables to rows, its rows to records.

Only bibliographic facts are used: date, authors, title, links. The list states no licence for its
prose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segscope.catalogue import identify
from segscope.catalogue.findings import CatalogueFinding
from segscope.catalogue.record import Arxiv, ListRow, Origin, PaperRecord, with_origin
from segscope.catalogue.vocabulary import tags_in

SOURCE = "sam4mis"
SURE = 0.9  # confidence of a tag from the title
LIKELY = 0.6  # of a tag from the abstract, or from the table of the row

_LINK = re.compile(r"\[([^\[\]]*)\]\(\s*<?([^()\s>]*(?:\([^()\s]*\)[^()\s>]*)*)>?[^()]*\)")
_RULE = re.compile(r"^[\s|:-]+$")
_MIN_TITLE = 8  # letters; anything shorter is probably not a title


@dataclass(frozen=True, slots=True)
class Row:
    """One row: date as "2024-08", or "" if it cannot be read; everything else as written."""

    date: str
    authors: str
    title: str
    url: str
    code: str
    table: str
    line: int = 0


def parse(markdown: str) -> tuple[list[Row], list[CatalogueFinding]]:
    """Rows of all literature tables, and lines that could not be read."""
    rows: list[Row] = []
    findings: list[CatalogueFinding] = []
    for number, table, cells in _table_lines(markdown):
        row, row_findings = _parse_row(cells, table, number)
        findings += row_findings
        if row is not None:
            rows.append(row)
    if not rows:
        message = "there is no table with Date, Authors, Title; nothing was changed"
        findings.append(CatalogueFinding("no rows", "list", message))
    return rows, findings


def _table_lines(markdown: str) -> Iterator[tuple[int, str, list[str]]]:
    """Number, table and cells of each line of a literature table, without its head."""
    table = ""
    heading = ""
    for number, line in enumerate(markdown.splitlines(), 1):
        text = line.strip()
        if text.startswith("#"):
            heading = text
        if text and not text.startswith("|"):
            table = ""
        if not text.startswith("|"):
            continue
        cells = [cell.strip() for cell in text.removeprefix("|").removesuffix("|").split("|")]
        head = [cell.lower() for cell in cells]
        if head[:3] == ["date", "authors", "title"]:
            table = _table(heading, head)
        elif table and not _RULE.match(text):
            yield number, table, cells


def _table(heading: str, head: Sequence[str]) -> str:
    if "dataset" in head[-1]:
        return "datasets"
    if re.search(r"SAM ?[23]", heading):
        return "sam2"
    return "sam"


def _parse_row(
    cells: list[str], table: str, line: int
) -> tuple[Row | None, list[CatalogueFinding]]:
    findings: list[CatalogueFinding] = []

    def note(kind: str, what: str) -> None:
        findings.append(CatalogueFinding(kind, f"line {line}", what))

    if len(cells) != 4:
        repaired = _repair(cells)
        count = f"{len(cells)} cells, expected 4"
        if repaired is None:
            note("malformed row", f"{count}; skipped: {_shorten(cells)}")
            return None, findings
        note("malformed row", f"{count}; read as: {_shorten(cells)}")
        cells = repaired
    date_cell, people, title_cell, code_cell = cells
    title, url = _split_title(title_cell)
    if len(identify.fold(title)) < _MIN_TITLE:
        note("malformed row", f"no title; skipped: {_shorten(cells)}")
        return None, findings
    date = _date(date_cell)
    if not date:
        note(
            "wrong date",
            f"{date_cell!r} is not a year and month; {title[:60]!r} is read without a date",
        )
    code = _LINK.search(code_cell)
    return Row(date, people, title, url, code[2] if code else "", table, line), findings


def _repair(cells: Sequence[str]) -> list[str] | None:
    """The four cells that a row with another number of cells probably means, or None."""
    full = [cell for cell in cells if cell]
    if len(full) > 4 and _date(full[0]):  # a bar in the title
        full = [*full[:2], " | ".join(full[2:-1]), full[-1]]
    if len(full) == 3:
        return [*full, ""]
    if len(full) == 4:
        return full
    return None


def _split_title(cell: str) -> tuple[str, str]:
    """Title and link of a cell."""
    title = " ".join(_LINK.sub("", cell).split())
    link = _LINK.search(cell)
    if link is None:
        return title, ""
    if len(identify.fold(title)) < _MIN_TITLE and "paper" not in link[1].lower():
        title = link[1].strip()  # the title itself is the link
    return title, link[2]


def _date(cell: str) -> str:
    match = re.fullmatch(r"(20[12]\d)[-./]?(0[1-9]|1[0-2])", cell.strip())
    if match:
        return f"{match[1]}-{match[2]}"
    return ""


def _shorten(cells: Sequence[str]) -> str:
    text = " | ".join(cells)
    if len(text) <= 100:
        return text
    return f"{text[:97]}..."


def record_of(row: Row, day: str) -> tuple[PaperRecord, list[CatalogueFinding]]:
    """The record of one row; findings about its date."""
    people, more = identify.authors(row.authors)
    arxiv = identify.arxiv_id(row.url)
    doi = identify.doi_of(row.url)
    origin = Origin(SOURCE, day)
    date, findings = _choose_date(row, arxiv)
    urls = _urls(row)
    first_author = next((person.family for person in people), "")
    record = PaperRecord(
        _choose_id(arxiv, doi) or identify.slug(row.title, first_author),
        row.title,
        more_authors=more,
        urls=urls,
        listed=(ListRow(row.table, row.date, row.url),),
        provenance={"title": origin, **{f"urls.{name}": origin for name in urls}},
    )
    values: dict[str, Any] = {
        "authors": people,
        "date": date,
        "code": identify.repository(row.code),
    }
    if arxiv:
        values["arxiv"] = Arxiv(arxiv)
    else:
        values |= {"venue": identify.venue_of(row.url), "doi": doi}
    known = {name: value for name, value in values.items() if value}
    record = with_origin(record, origin, **known)
    return tagged(record, day, table=row.table), findings


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
    """The date of a row, or that of its arXiv id where they differ by more than a month: around the
    end of a month a difference of one is usual, more is an error.
    """
    if not arxiv:
        return row.date, []
    month = identify.arxiv_month(arxiv)
    if not row.date:
        return month, []
    apart = 12 * (int(row.date[:4]) - int(month[:4])) + int(row.date[5:]) - int(month[5:])
    if abs(apart) <= 1:
        return row.date, []
    message = f"{row.date} in the list, {month} by the arXiv id {arxiv}, which is used"
    return month, [CatalogueFinding("wrong date", f"line {row.line}", message)]


_TABLE_TAGS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "sam2": {"base_model": ("SAM2",)},
    "datasets": {"task": ("dataset",)},
}


def tagged(record: PaperRecord, day: str, *, table: str = "", abstract: str = "") -> PaperRecord:
    """The record with the tags that the rules give: by title, else by abstract (which is not
    stored), else by table.

    Tags from a person or a source are not changed.
    """
    in_title = tags_in(record.title)
    tags = dict(_TABLE_TAGS.get(table, {}))
    if abstract:
        tags |= tags_in(abstract)
    tags |= in_title
    for tag, terms in tags.items():
        confidence = LIKELY
        if tag in in_title:
            confidence = SURE
        if terms != getattr(record, tag) and _may_tag(record.provenance.get(tag), confidence):
            record = with_origin(record, Origin("rule", day, confidence), **{tag: terms})
    return record


def _may_tag(current: Origin | None, confidence: float) -> bool:
    """Whether a rule may replace a tag of this origin."""
    if current is None:
        return True
    return current.source == "rule" and confidence >= (current.confidence or 0)
