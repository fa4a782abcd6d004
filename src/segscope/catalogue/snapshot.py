"""Builds the snapshot that the package ships from rows of both lists, works added by hand, and
overrides.

`python -m segscope.catalogue.snapshot ROWS.jsonl ROWS_2.jsonl` writes it; a test compares it with
its sources.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path

from segscope.catalogue.findings import CatalogueFinding
from segscope.catalogue.merge import Merging, join, updated
from segscope.catalogue.record import JsonObject, Origin, PaperRecord, from_json, with_origin
from segscope.catalogue.rows import Row, mend_date, record_of
from segscope.catalogue.scope import is_in_scope
from segscope.catalogue.store import (
    SNAPSHOT,
    Catalogue,
    lines,
    overridden,
    parse_overrides,
    write,
)
from segscope.catalogue.tags import tagged
from segscope.catalogue.vocabulary import check_terms

DAYS = {"sam4mis": "2026-04-30", "awesome": "2026-08-08"}
"""Day of each list's commit."""

DAY = max(DAYS.values())


def build(
    rows: Iterable[Row],
    added: Iterable[JsonObject],
    fixes: Mapping[str, JsonObject],
) -> tuple[list[PaperRecord], Merging]:
    """Distinct works of rows and additions, and a report of merging.

    Works of the second list are in if they are in the first, or belong here by `scope`.
    """
    records: list[PaperRecord] = []
    findings: list[CatalogueFinding] = []
    for row in rows:
        record, row_findings = record_of(row, DAYS[row.source])
        records.append(record)
        findings += row_findings
    works, report = join(records)
    report.findings[:0] = findings
    works = list(filter(is_in_scope, works))
    works = _with_added(works, map(_read_added, added))
    works = [mend_date(work, DAY) for work in works]
    works = overridden(works, fixes, DAY)
    check_terms(works)
    return works, report


def _with_added(works: Iterable[PaperRecord], added: Iterable[PaperRecord]) -> list[PaperRecord]:
    """Works of the lists and works added by hand, which take precedence."""
    catalogue = Catalogue(works)
    records = dict(catalogue.records)
    for record in added:
        known = catalogue.get(record.id)
        if known is None:
            records[record.id] = record
        else:
            records[known.id] = updated(known, record)
    return list(records.values())


def _read_added(value: JsonObject) -> PaperRecord:
    """A work added by hand: its fields are "manual", missing tags come from its title."""
    record = from_json(value)
    origin = Origin("manual", DAY)
    values = {name: getattr(record, name) for name in value if name not in ("id", "urls")}
    record = with_origin(record, origin, **values)
    links = {f"urls.{name}": origin for name in record.urls}
    return tagged(replace(record, provenance={**record.provenance, **links}), DAY)


def sources() -> tuple[list[JsonObject], dict[str, JsonObject]]:
    """Additions and overrides in the package."""
    data = resources.files("segscope.catalogue") / "data"
    added = list(map(json.loads, (data / "added.jsonl").read_text("utf-8").splitlines()))
    return added, parse_overrides((data / "overrides.toml").read_text("utf-8"), "overrides.toml")


def rows_of(path: Path) -> list[Row]:
    """Rows of a file with {date, authors, title, url, code, table}, and name and venue where the
    list has them, a line.
    """
    values = list(map(json.loads, path.read_text("utf-8").splitlines()))
    return [
        Row(
            value["date"],
            value["authors"],
            value["title"],
            value["url"],
            value["code"] or "",
            value["table"],
            name=value.get("name", ""),
            venue=value.get("venue", ""),
        )
        for value in values
    ]


if __name__ == "__main__":
    listed = [row for name in sys.argv[1:] for row in rows_of(Path(name))]
    works, merging = build(listed, *sources())
    write(Path(__file__).with_name("data") / SNAPSHOT, lines(works))
    sys.stdout.write(
        "".join(f"{finding}\n" for finding in merging.findings) + f"{len(works)} works\n"
    )
