"""Finding records by words, years and tags; the catalogue's names."""

from __future__ import annotations

from pathlib import Path

import pytest

from segscope.catalogue import Catalogue, Query, load, search
from segscope.catalogue.record import RecordError, from_json
from segscope.catalogue.search import related, years
from segscope.catalogue.store import read, write
from segscope.catalogue.vocabulary import term, vocabulary
from segscope.errors import ReadError, SegscopeError, UnknownName, UsageError


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load(Path("/nowhere"))


def test_all_words_must_be_there_and_quotes_keep_them_together(catalogue: Catalogue) -> None:
    found = search(catalogue, Query("medical adapter WU"))
    assert "arxiv:2304.12620" in {record.id for record in found}
    assert len(search(catalogue, Query('"medical sam adapter"'))) == 1
    assert search(catalogue, Query("gutierrez")) == search(catalogue, Query("Gutiérrez"))
    assert search(catalogue, Query("no-such-word")) == []


def test_conditions_narrow(catalogue: Catalogue) -> None:
    found = search(catalogue, Query(years=(2025, 2025), tags={"modality": ("US",)}, has_code=True))
    assert found
    assert all(r.year == 2025 and "US" in r.modality and r.has_code for r in found)
    both = search(catalogue, Query(tags={"modality": ("US", "CT")}))
    assert len(both) > len(search(catalogue, Query(tags={"modality": ("CT",)})))
    dates = [record.date for record in search(catalogue, Query())]
    assert dates == sorted(dates, reverse=True)


@pytest.mark.parametrize(
    ("text", "found"),
    [("2025", (2025, 2025)), ("2023-2024", (2023, 2024)), ("2024-", (2024, 9999))],
)
def test_years(text: str, found: tuple[int, int]) -> None:
    assert years(text) == found


@pytest.mark.parametrize("text", ["", "25", "2025-2024", "soon", "2024-25"])
def test_what_is_no_year_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        years(text)


def test_terms_go_by_their_other_names() -> None:
    assert term("modality", "ultrasound") == term("modality", "us") == "US"
    assert term("base_model", "sam 2") == "SAM2"
    with pytest.raises(UnknownName, match="near: "):
        term("modality", "ultrasond")


def test_no_word_means_two_terms() -> None:
    for terms in vocabulary().values():
        words = [word.lower() for entry in terms for word in (entry.name, *entry.aliases)]
        assert len(words) == len(set(words))


@pytest.mark.parametrize(
    "name",
    ["arxiv:2304.12306", "2304.12306", "https://arxiv.org/pdf/2304.12306v2.pdf", "10.1038/s41467-024-44824-z",
     "https://doi.org/10.1038/s41467-024-44824-z", "doi:10.1038/s41467-024-44824-z"],
)  # fmt: skip
def test_a_paper_goes_by_every_identifier(name: str, catalogue: Catalogue) -> None:
    assert catalogue.find(name).title == "Segment Anything in Medical Images"


def test_names_that_mean_nothing_or_several_are_refused(catalogue: Catalogue) -> None:
    with pytest.raises(UsageError, match="in their title"):
        catalogue.find("SAM")
    with pytest.raises(UnknownName):
        catalogue.find("arxiv:9999.99999")


def test_related_works_have_words_and_tags_in_common(catalogue: Catalogue) -> None:
    near = related(catalogue.find("2408.07931"), list(catalogue))
    assert len(near) == 5
    assert sum("surg" in record.title.lower() for record in near) >= 3


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


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep" / "a.jsonl"
    assert write(path, "one")
    assert not write(path, "one")
    monkeypatch.setattr(
        "os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(SegscopeError, match="No space left"):
        write(path, "two")
    assert path.read_text() == "one"
    assert [each.name for each in path.parent.iterdir()] == ["a.jsonl"]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "arxiv:1", "title": "t"}\n{"id": 3}\n')
    with pytest.raises(ReadError, match=r"a\.jsonl line 2"):
        read(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(ReadError):
        read(tmp_path / "b.jsonl")
