"""The Markdown list liliu-avril/Awesome-Segment-Anything: its entries to rows.

The first page names the files that hold the entries of each year. An entry is a bullet:

    - **Name:** First Author, Second Author.<br />
      "Title." Venue (2026).
      [[paper](https://...)] [[code](https://...)]
      [2026.06]
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from urllib.parse import urljoin

from segscope.catalogue import identify
from segscope.catalogue.findings import CatalogueFinding
from segscope.catalogue.rows import AWESOME, Row

_BULLET = re.compile(r"^ ? ?[-*]\s+(?=\S)")
_BREAK = re.compile(r"<br\s*/?>\s*", re.IGNORECASE)
_NAME = re.compile(r"^\*\*(.+?)\*\*:?\s*|^([^*]{0,40}):\*\*\s*")
_QUOTED = re.compile(r"[\"“](.+)[\"”]", re.DOTALL)
_LINK = re.compile(r"\[{1,2}\s*([^\[\]]+?)\s*\]{0,2}\(\s*([^\s()]+(?:\([^\s()]*\)[^\s()]*)*)")
_DATE = re.compile(r"\[\s*(20\d\d)[.\-/](\d{1,2})\s*\]")
_FILE = re.compile(r"\]\(\s*(?:\./)?([\w./-]*paper_list_\d{4}\.md)\s*\)")
_PAPER = ("paper", "arxiv", "pdf", "openreview")
_CODE = ("code", "project", "homepage")
_MOST_WORDS = 4  # of the name of a method
_MIN_TITLE = 8  # letters; anything shorter is probably not a title


def files(markdown: str, address: str) -> list[str]:
    """Addresses of the files that the first page names, newest year first.

    Args:
        address: of the first page; links are relative to it.
    """
    names = sorted(set(_FILE.findall(markdown)), reverse=True)
    return [urljoin(address, name) for name in names]


def parse(markdown: str, where: str = "") -> tuple[list[Row], list[CatalogueFinding]]:
    """Rows of all entries, and entries that could not be read.

    Args:
        where: name of the file, for the findings.
    """
    rows: list[Row] = []
    findings: list[CatalogueFinding] = []
    for line, text in _entries(markdown):
        row = _parse_entry(text, line)
        place = f"{where} line {line}".strip()
        if row is None:
            message = f"no title; skipped: {text[:80]}"
            findings.append(CatalogueFinding("malformed row", place, message))
            continue
        if not row.date:
            message = f"{row.title[:60]!r} has no year and month; it is read without a date"
            findings.append(CatalogueFinding("wrong date", place, message))
        rows.append(row)
    return rows, findings


def _entries(markdown: str) -> Iterator[tuple[int, str]]:
    """Line number and text of each bullet with a line break and links or a quotation, as entries
    have them.
    """
    start = 0
    lines: list[str] = []
    for number, line in enumerate([*markdown.splitlines(), "#"], 1):
        if _BULLET.match(line) or line.startswith("#"):
            text = "\n".join(lines).strip()
            if _BREAK.search(text) and ("[[" in text or _QUOTED.search(text)):
                yield start, text
            start = number
            lines = []
        lines.append(_BULLET.sub("", line))


def _parse_entry(text: str, line: int) -> Row | None:
    people, _, rest = map(str.strip, _partition_break(text))
    before_links, links = _split_links(rest)
    quoted = _QUOTED.search(before_links)
    if quoted is None:
        return None
    title = html.unescape(" ".join(quoted[1].split())).rstrip(". ")
    if len(identify.fold(title)) < _MIN_TITLE:
        return None
    date = _DATE.search(rest)
    return Row(
        _month(date),
        html.unescape(people),
        title,
        _pick(links, _PAPER),
        _pick(links, _CODE),
        AWESOME,
        line,
        name=_name(people),
        venue=" ".join(before_links[quoted.end() :].replace("*", "").split()),
    )


def _name(people: str) -> str:
    """The name of the method in front of the authors; "" for a description of several words."""
    match = _NAME.match(people)
    if match is None:
        return ""
    name = (match[1] or match[2]).strip(": ")
    if len(name.split()) > _MOST_WORDS:
        return ""
    return name


def _partition_break(text: str) -> tuple[str, str, str]:
    """The text before the first line break, the break, and the text behind it."""
    found = _BREAK.search(text)
    if found is None:
        return "", "", text
    return text[: found.start()], found[0], text[found.end() :]


def _split_links(text: str) -> tuple[str, dict[str, str]]:
    """The text before the first link, and the links by lower-case name."""
    start = text.find("[[")
    if start < 0:
        return text, {}
    links: dict[str, str] = {}
    for name, url in _LINK.findall(text[start:]):
        links.setdefault(name.lower(), url)
    return text[:start], links


def _pick(links: dict[str, str], names: tuple[str, ...]) -> str:
    """The link with the first of these names."""
    return next((links[name] for name in names if name in links), "")


def _month(date: re.Match[str] | None) -> str:
    """ "2026-06" of "[2026.06]"."""
    if date is None or not 1 <= int(date[2]) <= 12:
        return ""
    return f"{date[1]}-{int(date[2]):02d}"
