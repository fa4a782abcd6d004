"""Finding records by words, years and tags; the catalogue's names."""

from __future__ import annotations

from pathlib import Path

import pytest

from segscope.catalogue import Catalogue, Query, load, search
from segscope.catalogue.search import related, years
from segscope.errors import UsageError


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


def test_related_works_have_words_and_tags_in_common(catalogue: Catalogue) -> None:
    near = related(catalogue.find("2408.07931"), list(catalogue))
    assert len(near) == 5
    assert sum("surg" in record.title.lower() for record in near) >= 3
