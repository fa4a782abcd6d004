"""The Markdown list YichiZhang98/SAM4MIS: its tables to rows.

The list states no licence for its prose, which is not used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from segscope.catalogue import identify
from segscope.catalogue.findings import CatalogueFinding
from segscope.catalogue.rows import Row

_LINK = re.compile(r"\[([^\[\]]*)\]\(\s*<?([^()\s>]*(?:\([^()\s]*\)[^()\s>]*)*)>?[^()]*\)")
_RULE = re.compile(r"^[\s|:-]+$")
_MIN_TITLE = 8  # letters; anything shorter is probably not a title


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
        cells = list(map(str.strip, text.removeprefix("|").removesuffix("|").split("|")))
        head = list(map(str.lower, cells))
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
    full = list(filter(None, cells))
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
