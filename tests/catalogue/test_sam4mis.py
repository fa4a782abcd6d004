"""The list's tables, whole and broken."""

from __future__ import annotations

import pytest
from support.catalogue_server import markdown

from segscope.catalogue.rows import Row, record_of
from segscope.catalogue.sam4mis import parse
from segscope.catalogue.tags import tagged

GOOD = (
    "|202601|J. Doe et al.|A title that is long enough "
    "[(paper)](https://arxiv.org/abs/2601.00001)|None|"
)


def table(*lines: str) -> str:
    return "\n".join(["## SAM 2", "|Date|Authors|Title|Code|", "|---|---|---|---|", *lines])


def test_what_was_written_is_read_back(rows: list[Row]) -> None:
    found, findings = parse(markdown(rows))
    assert findings == []
    assert [(r.date, r.authors, r.title, r.url, r.code or "", r.table) for r in found] == [
        (r.date, r.authors, " ".join(r.title.split()), r.url, r.code, r.table) for r in rows
    ]


@pytest.mark.parametrize(
    ("line", "kind", "kept"),
    [
        (
            "|202312|Y. Z et al.|A title that is long enough [(paper)](https://a.org/x)||"
            "[Code](https://github.com/a/b)|",
            "malformed row",
            True,
        ),
        (
            "|202312|Y. Z et al.|A | bar in a title [(paper)](https://a.org/x)|None|",
            "malformed row",
            True,
        ),
        ("|202312|Y. Z et al.|", "malformed row", False),
        ("|202312||||None|", "malformed row", False),
        ("|202312|Y. Z et al.|[(paper)](https://a.org/x)|None|", "malformed row", False),
        (
            "|202313|Y. Z et al.|A title that is long enough [(paper)](https://a.org/x)|None|",
            "wrong date",
            True,
        ),
        (
            "||Y. Z et al.|A title that is long enough [(paper)](https://a.org/x)|None|",
            "wrong date",
            True,
        ),
    ],
)
def test_a_broken_row_is_reported_with_its_line_and_the_others_are_read(
    line: str, kind: str, kept: bool
) -> None:
    found, findings = parse(table(GOOD, line, GOOD))
    assert [(each.kind, each.where) for each in findings] == [(kind, "line 5")]
    assert len(found) == 2 + kept
    if not kept:
        assert "skipped: " in findings[0].what


def test_other_tables_and_prose_are_passed_over() -> None:
    found, _ = parse(
        "# x\n|a|b|\n|---|---|\n|1|2|\n\nprose | with | bars\n"
        + table(GOOD)
        + "\n\n## y\n|q|w|e|r|\n"
    )
    assert [row.table for row in found] == ["sam2"]


def test_no_table_at_all_is_reported() -> None:
    assert [each.kind for each in parse("<!doctype html><p>busy")[1]] == ["no rows"]


def test_a_date_a_month_from_the_arxiv_id_is_usual_and_more_is_not() -> None:
    near = Row("2024-10", "A. B et al.", "A title", "https://arxiv.org/pdf/2409.20253", "", "sam")
    far = Row("2024-01", "A. B et al.", "A title", "https://arxiv.org/pdf/2409.20253", "", "sam", 7)
    record, findings = record_of(near, "2026-01-01")
    assert (record.date, findings) == ("2024-10", [])
    record, findings = record_of(far, "2026-01-01")
    assert record.date == "2024-09"
    assert [(each.kind, each.where) for each in findings] == [("wrong date", "line 7")]


def test_links_go_where_they_belong() -> None:
    def urls(code: str, table: str) -> dict[str, str]:
        return dict(
            record_of(
                Row("2024-01", "A. B", "A title", "https://a.org/x", code, table), "2026-01-01"
            )[0].urls
        )

    assert urls("www.github.com/a/b.git", "sam") == {
        "paper": "https://a.org/x",
        "code": "https://github.com/a/b",
    }
    assert urls("https://a.github.io/b/", "sam")["project"] == "https://a.github.io/b"
    assert urls("https://openxlab.org.cn/d", "datasets")["data"] == "https://openxlab.org.cn/d"
    assert urls("None", "sam") == {"paper": "https://a.org/x"}


def test_tags_come_from_the_title_surely_from_the_abstract_less_so_and_never_from_nothing() -> None:
    record, _ = record_of(
        Row("2025-01", "A. B", "LoRA for echocardiography videos with SAM 2", "", "", "sam"),
        "2026-01-01",
    )
    assert (record.modality, record.dimension, record.adaptation, record.base_model) == (
        ("US",), ("video",), ("LoRA",), ("SAM2",),
    )  # fmt: skip
    assert record.guessed("modality") == 0.9
    plain, _ = record_of(
        Row("2025-01", "A. B", "Something about organs", "", "", "sam"), "2026-01-01"
    )
    assert plain.modality == plain.base_model == ()
    richer = tagged(plain, "2026-01-02", abstract="We use CT scans and MRI.")
    assert richer.modality == ("CT", "MR")
    assert richer.guessed("modality") == 0.6
    assert tagged(richer, "2026-01-03", abstract="X-ray.").modality in (("X-ray",), ("CT", "MR"))
