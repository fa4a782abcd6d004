"""The records that the package ships: all rows of the list, none twice, none lost."""

from __future__ import annotations

import json
from collections import Counter
from importlib import resources
from pathlib import Path

import pytest

from segscope.catalogue import snapshot, store
from segscope.catalogue.disputes import disputes
from segscope.catalogue.identify import arxiv_id, arxiv_month
from segscope.catalogue.links import links
from segscope.catalogue.merge import Merging
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


MISSED = (
    *("2601.10880", "2601.09879", "2511.16618", "2507.09577", "2603.25945", "2607.29200"),
    *("2607.27856", "2607.25860", "2607.23694", "2607.18014", "2607.14328", "2607.06972"),
    *("2607.02571", "2606.22963", "2606.15604", "2606.04705", "2605.29429", "2605.19027"),
    *("2605.13688", "2605.05979", "2604.18225", "2604.09814", "2604.03645", "2603.17845"),
    *("2602.22649", "2602.03320", "2512.24861", "2511.15771", "2510.26635", "2510.09499"),
)  # fmt: skip


@pytest.fixture(scope="module")
def records() -> list[store.PaperRecord]:
    return store.snapshot()


@pytest.fixture(scope="module")
def built(rows: list[Row], more_rows: list[Row]) -> tuple[list[store.PaperRecord], Merging]:
    return snapshot.build([*rows, *more_rows], *snapshot.sources())


def test_the_list_has_52_370_and_3_rows(rows: list[Row]) -> None:
    assert Counter(row.table for row in rows) == {"sam2": 52, "sam": 370, "datasets": 3}


def test_every_row_is_in_exactly_one_record(
    rows: list[Row], records: list[store.PaperRecord]
) -> None:
    listed = Counter(
        (entry.table, entry.date, entry.url)
        for record in records
        for entry in record.listed
        if entry.table != "awesome"
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
    assert len(works) - len(data) == 411
    merged = report.joined
    assert sum(len(group) - 1 for group in merged) == len(rows) - len(works)
    said = [finding for finding in report.findings if finding.kind == "duplicate"]
    assert len(said) == len(merged) == 11


def test_a_link_that_two_works_share_belongs_to_the_right_one(
    records: list[store.PaperRecord],
) -> None:
    catalogue = store.Catalogue(records)
    assert catalogue.find("2412.08575").title.startswith("Annotation-Efficient Task Guidance")
    assert catalogue.find("Med-FastSAM").arxiv is None
    assert "arxiv.org" not in catalogue.find("Med-FastSAM").url
    assert catalogue.find("10.1007/978-3-032-04937-7_19").title.startswith("From Generalist")
    assert catalogue.find("Segment Anything Model for Gastric Cancer").doi == "10.1002/cam4.71246"
    assert catalogue.find("2503.18227").title.startswith("PG-SAM: Prior-Guided SAM")
    assert str(catalogue.find("2503.18227").authors[0]) == "Yiheng Zhong"
    assert catalogue.find("Optimization of MedSAM model based on bounding box").url == ""
    assert str(catalogue.find("2511.17201").authors[0]) == "Jiayi Wang"


def test_every_disagreement_of_the_sources_was_reviewed(
    built: tuple[list[store.PaperRecord], Merging],
) -> None:
    works, report = built
    found = {each.where for each in report.findings if each.kind.startswith("disputed")}
    assert found == set(disputes())
    catalogue = store.Catalogue(works)
    for name, decision in disputes().items():
        work = catalogue.find(name)
        if decision.title:
            assert work.title == decision.title
        if decision.first_author:
            assert str(work.authors[0]) == decision.first_author


def test_no_work_is_dated_before_its_preprint_unless_it_was_published_first(
    records: list[store.PaperRecord],
) -> None:
    for record in records:
        if record.arxiv and record.date < arxiv_month(record.arxiv.id):
            assert any(not arxiv_id(row.url) for row in record.listed), record.id
    catalogue = store.Catalogue(records)
    for name in (
        "2512.04520",
        "2505.01854",
        "2409.09286",
        "2409.09484",
        "2408.00181",
        "2408.08315",
    ):
        assert catalogue.find(name).date == arxiv_month(name)


@pytest.mark.parametrize("name", ["UN-SAM:", "SAM-Med3D:", "SemiSAM:"])
def test_a_preprint_and_its_journal_version_are_one_record(
    name: str, records: list[store.PaperRecord]
) -> None:
    [work] = [record for record in records if record.title.startswith(name)]
    assert work.arxiv
    assert not arxiv_id(work.url)
    assert len(work.aliases) >= 2


def test_it_is_large_recent_and_has_whole_lists_of_authors(
    records: list[store.PaperRecord],
) -> None:
    assert len(records) >= 780
    assert sum(record.year == 2026 for record in records) >= 110
    whole = [record for record in records if record.authors and not record.more_authors]
    assert len(whole) > 700
    for record in records:
        if record.provenance["authors"].source == "sam4mis" and len(record.authors) == 1:
            assert record.more_authors, record.id


@pytest.mark.parametrize("identifier", MISSED)
def test_works_that_the_first_list_does_not_have_are_there(
    identifier: str, records: list[store.PaperRecord]
) -> None:
    assert store.Catalogue(records).get(identifier) is not None


def test_the_shipped_file_is_what_its_sources_give(
    built: tuple[list[store.PaperRecord], Merging], records: list[store.PaperRecord]
) -> None:
    works, _ = built
    text = (resources.files("segscope.catalogue") / "data" / "records.jsonl").read_text("utf-8")
    assert store.lines(works) == text, (
        "run python -m segscope.catalogue.snapshot tests/catalogue/data/rows.jsonl "
        "tests/catalogue/data/rows_2.jsonl"
    )
    assert len(text.encode()) < 1_000_000
    assert [from_json(json.loads(json.dumps(to_json(record)))) for record in records] == records


def test_the_documentation_has_the_number_of_works(records: list[store.PaperRecord]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "papers.md").read_text("utf-8")
    assert f"{len(records)} works" in text


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
