"""Finding records by words, years and tags; the catalogue's names."""

from __future__ import annotations

from pathlib import Path

import pytest

from segscope.catalogue import Catalogue, Query, load, search
from segscope.catalogue.search import find, related, years
from segscope.errors import UsageError


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load(Path("/nowhere"))


QUERIES = (
    ("SAM 2 video surgical instruments", "2504.07117", "2408.01648"),
    ("efficient adapter ultrasound", "2404.14837"),
    ("interactive 3D CT lesion", "2602.00309"),
    ("LoRA", "2106.09685"),
    ("training-free few-shot polyp", "2603.07436"),
    ("prompt-free nuclei histopathology", "2603.20326"),
    ("text prompts for medical segmentation", "2312.17183"),
    ("federated learning", "2511.14302"),
    ("cell tracking in microscopy", "2509.09943"),
    ("zero-shot evaluation of brain tumours in MRI", "2310.06162", "2506.20786"),
    ("annotation tool for napari or 3D Slicer", "2602.22649", "2408.15224", "2304.05622"),
    ("lightweight distillation of MedSAM", "2501.16740"),
)
"""Natural queries, and works that must be among the first five matches."""


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query[0])
def test_natural_queries_find_relevant_works_first(
    query: tuple[str, ...], catalogue: Catalogue
) -> None:
    words, *expected = query
    first = [record.id for record in search(catalogue, Query(words))[:5]]
    assert {f"arxiv:{name}" for name in expected} <= set(first)


def test_low_rank_adaptation_has_many_works(catalogue: Catalogue) -> None:
    assert len(search(catalogue, Query("LoRA"))) > 10
    assert {record.id for record in search(catalogue, Query("SAM 2"))} == {
        record.id for record in search(catalogue, Query("sam2"))
    }
    ultrasound = {record.id for record in search(catalogue, Query("ultrasound"))}
    assert {record.id for record in catalogue if "US" in record.modality} <= ultrasound


def test_works_with_some_words_follow_where_few_have_all(catalogue: Catalogue) -> None:
    result = find(catalogue, Query("interactive 3D CT lesion"))
    assert 0 < result.with_all_words < 5 < len(result.records)
    assert result.unmatched == ()
    strict = find(catalogue, Query("interactive 3D CT lesion", all_words=True))
    assert strict.records == result.records[: result.with_all_words]


def test_a_word_that_matches_nothing_is_named_and_the_others_count(catalogue: Catalogue) -> None:
    result = find(catalogue, Query("xylophone ultrasound"))
    assert result.unmatched == ("xylophone",)
    assert result.records == search(catalogue, Query("ultrasound"))
    assert search(catalogue, Query("xylophone ultrasound", all_words=True)) == []


def test_a_phrase_that_no_work_has_is_searched_as_words(catalogue: Catalogue) -> None:
    words = "SAM 2 video surgical instruments"
    assert search(catalogue, Query(f'"{words}"')) == search(catalogue, Query(words))


def test_matches_can_be_sorted_otherwise(catalogue: Catalogue) -> None:
    by_rank = search(catalogue, Query("polyp"))
    by_date = search(catalogue, Query("polyp", sort="date"))
    assert {record.id for record in by_rank} == {record.id for record in by_date}
    dates = [record.date for record in by_date]
    assert dates == sorted(dates, reverse=True)
    titles = [record.title.lower() for record in search(catalogue, Query("polyp", sort="title"))]
    assert titles == sorted(titles)


def test_works_with_all_words_come_first_and_quotes_keep_them_together(
    catalogue: Catalogue,
) -> None:
    found = search(catalogue, Query("medical adapter WU"))
    assert "arxiv:2304.12620" in {record.id for record in found[:5]}
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


def test_related_works_have_words_and_tags_in_common(catalogue: Catalogue) -> None:
    near = related(catalogue.find("2408.07931"), list(catalogue))
    assert len(near) == 5
    assert sum("surg" in record.title.lower() for record in near) >= 3
