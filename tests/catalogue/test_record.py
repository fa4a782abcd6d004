"""Records and their JSON."""

from __future__ import annotations

import pytest

from segscope.catalogue.record import Author, Origin, PaperRecord, RecordError, from_json, to_json


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        {"id": "x", "title": "t"},
        {"id": "arxiv:1", "title": " "},
        *(
            {"id": "arxiv:1", "title": "t", **wrong}
            for wrong in (
                {"colour": 1},
                {"date": "2024-13"},
                {"urls": {"code": "javascript:x"}},
                {"urls": {"home": "https://a.org"}},
                {"arxiv": {"x": 1}},
                {"authors": ["J. Doe"]},
                {"provenance": {"title": []}},
            )
        ),
    ],
)
def test_what_breaks_the_schema_is_refused(value: object) -> None:
    with pytest.raises(RecordError):
        from_json(value)  # type: ignore[arg-type]


def test_authors_and_origins_have_a_short_json() -> None:
    record = PaperRecord(
        "arxiv:1",
        "t",
        (Author("van Ginneken", "Bram"), Author("OpenAI"), Author("Roe", "R.", "0000-0001")),
        provenance={
            "title": Origin("awesome", "2026-08-08"),
            "date": Origin("awesome", "2026-08-08"),
            "task": Origin("rule", "2026-08-08", 0.9),
        },
    )
    value = to_json(record)
    assert value["authors"][:2] == ["van Ginneken, Bram", "OpenAI"]
    assert value["authors"][2]["orcid"] == "0000-0001"
    assert value["provenance"] == {
        "awesome 2026-08-08": ["date", "title"],
        "rule 2026-08-08 0.9": ["task"],
    }
    assert from_json(value) == record
    unusual = PaperRecord("arxiv:1", "t", (Author("Gemini Team"),))
    assert from_json(to_json(unusual)) == unusual


def test_an_origin_of_an_unknown_field_is_refused() -> None:
    with pytest.raises(RecordError, match="unknown field 'sam4mis'"):
        from_json({"id": "arxiv:1", "title": "t", "provenance": {"title": ["sam4mis", "2026"]}})
