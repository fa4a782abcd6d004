"""Which works of the lists belong in the catalogue."""

from __future__ import annotations

import pytest

from segscope.catalogue.record import PaperRecord
from segscope.catalogue.rows import Row, record_of
from segscope.catalogue.scope import is_in_scope, judge, scope


def record(title: str, identifier: str = "arxiv:2609.00001") -> PaperRecord:
    return PaperRecord(identifier, title)


@pytest.mark.parametrize(
    "title",
    [
        "SAM 3 finds kidney stones in ultrasound",
        "Segment Anything for Cell Tracking",
        "Adapter of SAM for random forests in brain MRI",
        "Metal artifacts in dental CT, segmented with SAM",
        "Segmenting vascular trees and implants with prompts",
        "Interactive segmentation of electron microscopy",
    ],
)
def test_medicine_and_biology_belong(title: str) -> None:
    assert judge(record(title)).belongs


@pytest.mark.parametrize(
    ("title", "reason"),
    [
        ("SAM 3 finds chairs", "no word of medicine or biology"),
        ("SAM for sustainable cities in England", "no word of medicine or biology"),
        ("Registration of brain MRI", "no word of segmentation"),
        ("SAM finds lesions of leaves in aerial images", "'leaves'"),
        ("Segment anything in camouflage and skin lesions", "'camouflage'"),
        ("SAM for X-ray baggage", "'baggage'"),
        ("SAM for solar cell inspection", "'solar cell'"),
        ("Diameter at breast height of trees, by SAM", "'breast height'"),
    ],
)
def test_other_fields_do_not_and_the_reason_is_the_word(title: str, reason: str) -> None:
    verdict = judge(record(title))
    assert not verdict.belongs
    assert reason in verdict.reason


def test_decisions_of_people_take_precedence() -> None:
    assert judge(record("SAM3-Adapter for camouflage", "arxiv:2511.19425")).belongs
    verdict = judge(record("SAM for medical images", "arxiv:2311.06834"))
    assert not verdict.belongs
    assert "arxiv:2311.07398" in verdict.reason


def test_everything_in_sam4mis_belongs() -> None:
    row = Row("2024-01", "A. B et al.", "Something about masks", "", "", "sam")
    assert is_in_scope(record_of(row, "2026-01-01")[0])


def test_every_decision_is_about_a_row_of_the_list(more_rows: list[Row]) -> None:
    records = [record_of(row, "2026-01-01")[0] for row in more_rows]
    decided = {
        name
        for record in records
        for name in (record.id, "".join(filter(str.isalnum, record.title.lower())))
    }
    assert set(scope().decisions) <= decided
