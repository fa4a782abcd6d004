"""The records that the package ships: all rows of the list, none twice, none lost."""

from __future__ import annotations

import json
from collections import Counter
from importlib import resources

import pytest

from segscope.catalogue import snapshot, store
from segscope.catalogue.links import links
from segscope.catalogue.record import from_json, to_json
from segscope.catalogue.rows import Row
from segscope.catalogue.vocabulary import check_terms

NAMED = (
    "2304.12620",
    "2308.16184",
    "2410.04172",
    "2408.08870",
    "2408.03286",
    "2412.13742",
    "2304.05622",
    "2403.18114",
    "2412.01240",
    "2408.12889",
    "2408.08315",
    "2401.03495",
    "2305.03678",
)


@pytest.fixture(scope="module")
def records() -> list[store.PaperRecord]:
    return store.snapshot()


def test_the_list_has_52_370_and_3_rows(rows: list[Row]) -> None:
    assert Counter(row.table for row in rows) == {"sam2": 52, "sam": 370, "datasets": 3}


def test_every_row_is_in_exactly_one_record(
    rows: list[Row], records: list[store.PaperRecord]
) -> None:
    listed = Counter(
        (entry.table, entry.date, entry.url) for record in records for entry in record.listed
    )
    assert set(listed) == {(row.table, row.date, row.url) for row in rows}
    titles = {
        store.identify.fold(text) for record in records for text in (record.title, *record.aliases)
    }
    assert {store.identify.fold(row.title) for row in rows} <= titles


def test_the_rows_are_at_most_417_and_3_works_and_what_was_merged_is_said(rows: list[Row]) -> None:
    works, report = snapshot.build(rows, [], {})
    data = [work for work in works if {entry.table for entry in work.listed} == {"datasets"}]
    assert len(data) == 3
    assert len(works) - len(data) == 415
    merged = report.joined
    assert sum(len(group) - 1 for group in merged) == len(rows) - len(works)
    said = [finding for finding in report.findings if finding.kind == "duplicate"]
    assert len(said) == len(merged) == 7


def test_links_that_two_works_share_join_neither(
    rows: list[Row], records: list[store.PaperRecord]
) -> None:
    _, report = snapshot.build(rows, [], {})
    disputed = {
        finding.where for finding in report.findings if finding.kind == "disputed identifier"
    }
    assert disputed == {"arxiv:2412.08575", "doi:10.1007/978-3-032-04937-7_19"}
    catalogue = store.Catalogue(records)
    assert catalogue.find("2412.08575").title.startswith("Annotation-Efficient Task Guidance")
    assert catalogue.find("Med-FastSAM").url == ""
    assert catalogue.find("Segment Anything Model for Gastric Cancer").doi == ""


def test_the_shipped_file_is_what_its_sources_give(
    rows: list[Row], records: list[store.PaperRecord]
) -> None:
    works, _ = snapshot.build(rows, *snapshot.sources())
    text = (resources.files("segscope.catalogue") / "data" / "records.jsonl").read_text("utf-8")
    assert store.lines(works) == text, (
        "run python -m segscope.catalogue.snapshot tests/catalogue/data/rows.jsonl"
    )
    assert len(text.encode()) < 1_000_000
    assert [from_json(json.loads(json.dumps(to_json(record)))) for record in records] == records


def test_every_field_says_where_it_comes_from(records: list[store.PaperRecord]) -> None:
    for record in records:
        for name in to_json(record):
            if name in ("id", "listed", "aliases", "provenance", "more_authors"):
                continue
            origins = [f"urls.{key}" for key in record.urls] if name == "urls" else [name]
            assert set(origins) <= set(record.provenance), record.id
        assert all(
            origin.confidence for origin in record.provenance.values() if origin.source == "rule"
        )


def test_records_follow_the_vocabularies_and_hold_no_abstracts(
    records: list[store.PaperRecord],
) -> None:
    check_terms(records)
    assert all(
        len(str(to_json(record).get(name, ""))) < 400
        for record in records
        for name in ("title", "licence_note")
    )
    assert max(len(json.dumps(to_json(record))) for record in records) < 3000


@pytest.mark.parametrize("identifier", NAMED)
def test_what_the_field_rests_on_is_there_and_linked(
    identifier: str, records: list[store.PaperRecord]
) -> None:
    record = store.Catalogue(records).get(identifier)
    assert record is not None
    assert links()[record.id]
