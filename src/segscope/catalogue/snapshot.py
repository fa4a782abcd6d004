"""Makes the snapshot that the package ships, of rows of the list, works added by hand, and
overrides.

`python -m segscope.catalogue.snapshot ROWS.jsonl` writes it; a test holds it against its sources.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from segscope.catalogue.merge import Merging, join
from segscope.catalogue.record import Origin, Record, from_json, with_origin
from segscope.catalogue.store import SNAPSHOT, lines, overridden, parse_overrides, write
from segscope.catalogue.upstream import Row, record_of, tagged
from segscope.catalogue.vocabulary import check_terms

DAY = "2026-04-30"  # of the list's commit


def build(rows: Iterable[Row], added: Iterable[Mapping[str, Any]], fixes: Mapping[str, Mapping[str, Any]],
          day: str = DAY) -> tuple[list[Record], Merging]:  # fmt: skip
    """Distinct works of rows and additions, with what merging did."""
    made = [record_of(row, day) for row in rows]
    works, report = join([record for record, _ in made])
    report.findings[:0] = [finding for _, found in made for finding in found]
    known = {work.id for work in works}
    works += [_by_hand(value, day) for value in added if value["id"] not in known]
    works = overridden(works, fixes, day)
    check_terms(works)
    return works, report


def _by_hand(value: Mapping[str, Any], day: str) -> Record:
    """A work that somebody wrote down: its fields are "manual", the tags it lacks come from its
    title.
    """
    record = from_json(value)
    given = {name: getattr(record, name) for name in value if name not in ("id", "urls")}
    record = with_origin(record, Origin("manual", day), **given)
    links = {f"urls.{name}": Origin("manual", day) for name in record.urls}
    return tagged(replace(record, provenance={**record.provenance, **links}), day)


def sources() -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Additions and overrides that stand in the package."""
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
