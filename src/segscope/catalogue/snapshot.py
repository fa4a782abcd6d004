"""Builds the snapshot that the package ships from rows of the list, works added by hand, and
overrides.

`python -m segscope.catalogue.snapshot ROWS.jsonl` writes it; a test compares it with its sources.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path

from segscope.catalogue.findings import CatalogueFinding
from segscope.catalogue.merge import Merging, join
from segscope.catalogue.record import JsonObject, Origin, PaperRecord, from_json, with_origin
from segscope.catalogue.store import SNAPSHOT, lines, overridden, parse_overrides, write
from segscope.catalogue.upstream import Row, record_of, tagged
from segscope.catalogue.vocabulary import check_terms

DAY = "2026-04-30"  # of the list's commit


def build(
    rows: Iterable[Row],
    added: Iterable[JsonObject],
    fixes: Mapping[str, JsonObject],
    day: str = DAY,
) -> tuple[list[PaperRecord], Merging]:
    """Distinct works of rows and additions, and a report of merging."""
    records: list[PaperRecord] = []
    findings: list[CatalogueFinding] = []
    for row in rows:
        record, row_findings = record_of(row, day)
        records.append(record)
        findings += row_findings
    works, report = join(records)
    report.findings[:0] = findings
    known = {work.id for work in works}
    works += [_read_added(value, day) for value in added if value["id"] not in known]
    works = overridden(works, fixes, day)
    check_terms(works)
    return works, report


def _read_added(value: JsonObject, day: str) -> PaperRecord:
    """A work added by hand: its fields are "manual", missing tags come from its title."""
    record = from_json(value)
    origin = Origin("manual", day)
    values = {name: getattr(record, name) for name in value if name not in ("id", "urls")}
    record = with_origin(record, origin, **values)
    links = {f"urls.{name}": origin for name in record.urls}
    return tagged(replace(record, provenance={**record.provenance, **links}), day)


def sources() -> tuple[list[JsonObject], dict[str, JsonObject]]:
    """Additions and overrides in the package."""
    data = resources.files("segscope.catalogue") / "data"
    added = [json.loads(line) for line in (data / "added.jsonl").read_text("utf-8").splitlines()]
    return added, parse_overrides((data / "overrides.toml").read_text("utf-8"), "overrides.toml")


def rows_of(path: Path) -> list[Row]:
    """Rows of a file with {date, authors, title, url, code, table} a line."""
    values = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [
        Row(
            value["date"],
            value["authors"],
            value["title"],
            value["url"],
            value["code"] or "",
            value["table"],
        )
        for value in values
    ]


if __name__ == "__main__":
    works, merging = build(rows_of(Path(sys.argv[1])), *sources())
    write(Path(__file__).with_name("data") / SNAPSHOT, lines(works))
    sys.stdout.write(
        "".join(f"{finding}\n" for finding in merging.findings) + f"{len(works)} works\n"
    )
