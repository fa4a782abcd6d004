"""The second list's entries, whole and broken."""

from __future__ import annotations

import pytest
from support.catalogue_server import awesome_page

from segscope.catalogue.awesome import files, parse
from segscope.catalogue.rows import Row, record_of

ADDRESS = "https://example.org/repo/main/README.md"
ENTRY = """- **A-SAM:** Ann Lee*, Bob Ray.<br />
  "A-SAM: Masks of "very small" cells." **MICCAI (2026) Oral**.
  [[paper]( https://arxiv.org/abs/2606.00001)]
  [[code](https://github.com/a/b (DOI: 10.1/x)]
  [[demo]](https://example.org/demo)]
  [2026.06]
"""


def read(text: str) -> Row:
    rows, findings = parse(text)
    assert findings == []
    [row] = rows
    return row


def test_an_entry_has_name_authors_title_venue_links_and_month() -> None:
    row = read(ENTRY)
    assert row.name == "A-SAM"
    assert row.title == 'A-SAM: Masks of "very small" cells'
    assert row.venue == "MICCAI (2026) Oral."
    assert row.url == "https://arxiv.org/abs/2606.00001"
    assert row.code == "https://github.com/a/b"
    assert row.date == "2026-06"
    record, _ = record_of(row, "2026-08-08")
    assert [str(person) for person in record.authors] == ["Ann Lee", "Bob Ray"]
    assert record.venue is not None
    assert (record.venue.name, record.venue.type) == ("MICCAI 2026", "conference")


def test_what_was_written_is_read_back(more_rows: list[Row]) -> None:
    rows, _ = parse(awesome_page(more_rows))
    assert len(rows) == len(more_rows)
    for row, written in zip(rows, more_rows, strict=True):
        assert (row.title, row.url, row.code, row.date) == (
            written.title.rstrip(". "),
            written.url,
            written.code,
            written.date,
        )


def test_other_names_of_links_are_known() -> None:
    row = read(
        'Contents\n- Ann Lee<br>"A title that is long enough." ArXiv (2026).\n'
        "[[ArXiv]](https://arxiv.org/abs/2606.00002)\n[[Project]](https://a.github.io)\n[2026.6]\n"
    )
    assert row.url == "https://arxiv.org/abs/2606.00002"
    assert row.code == "https://a.github.io"
    assert row.date == "2026-06"


def test_a_description_in_bold_is_no_name() -> None:
    assert read(ENTRY.replace("A-SAM:**", "The First Survey of This Field:**")).name == ""


def test_bullets_that_are_no_entries_are_passed_over() -> None:
    assert parse("## Contents\n- [Survey](#survey)\n- 2026.06: news\n\n| a | b |\n") == ([], [])


@pytest.mark.parametrize(
    ("text", "kind", "number"),
    [
        ("- Ann Lee.<br />\n[[paper](https://a.org/x)]\n[2026.06]\n", "malformed row", 0),
        ('- Ann Lee.<br />\n"Short." ArXiv (2026).\n[2026.06]\n', "malformed row", 0),
        ('- Ann Lee.<br />\n"A title that is long enough." ArXiv (2026).\n', "wrong date", 1),
        ('- Ann Lee.<br />\n"A title that is long enough."\n[2026.13]\n', "wrong date", 1),
    ],
)
def test_a_broken_entry_is_reported_with_its_line(text: str, kind: str, number: int) -> None:
    rows, findings = parse(f"{ENTRY}\n{text}\n{ENTRY}", "list.md")
    assert [(each.kind, each.where) for each in findings] == [(kind, "list.md line 8")]
    assert len(rows) == 2 + number


def test_the_first_page_names_the_files_of_each_year() -> None:
    page = awesome_page([], "paper_list_2024.md", "paper_list_2026.md")
    folder = "https://example.org/repo/main/Paper_List"
    assert files(page, ADDRESS) == [
        f"{folder}/paper_list_2026.md",
        f"{folder}/paper_list_2024.md",
    ]
