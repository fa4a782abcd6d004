"""What other programs read: every record goes out and comes back."""

from __future__ import annotations

import json
from dataclasses import replace

import bibtexparser
import pytest
import rispy
from bibtexparser.middlewares import LatexDecodingMiddleware

from segscope.catalogue.export import bibtex, csl, csl_text, keys, ris
from segscope.catalogue.record import Arxiv, Author, PaperRecord, Venue
from segscope.catalogue.store import Catalogue, snapshot

ODD = PaperRecord(
    "arxiv:2401.00001",
    "50% of α-SAM & {braces}: a_b #1 $x$ \\ ~ “quoted” naïve 3D CT",
    (Author("Müller-Łuk", "Zoë"), Author("van der Berg", "A. B.")),
    more_authors=True,
    date="2024-02",
    venue=Venue("Journal of Images & Masks", "journal"),
    doi="10.1007/978-3-031_1",
    arxiv=Arxiv("2401.00001"),
    urls={"paper": "https://a.org/x_y?a=1&b=%20#z"},
)


@pytest.fixture(scope="module")
def records() -> list[PaperRecord]:
    return list(Catalogue(snapshot()))


def test_bibtex_comes_back_whole(records: list[PaperRecord]) -> None:
    library = bibtexparser.parse_string(bibtex(records))
    assert library.failed_blocks == []
    assert len(library.entries) == len(records)
    assert len({entry.key for entry in library.entries}) == len(records)
    assert all(entry.key.isascii() and entry.key.isalnum() for entry in library.entries)


def test_what_tex_would_stumble_over_is_escaped() -> None:
    text = bibtex([ODD])
    entry = bibtexparser.parse_string(text, append_middleware=[LatexDecodingMiddleware()]).entries[
        0
    ]
    title = entry.fields_dict["title"].value.replace("{", "").replace("}", "")
    assert "50% of α-SAM & braces: a_b #1" in title
    assert entry.fields_dict["author"].value.endswith("and others")
    assert "Müller" in entry.fields_dict["author"].value
    for sign in ("50% ", " & ", "a_b #1", "naïve"):
        assert sign not in text
    assert "{SAM}" in text
    assert entry.entry_type == "article"
    assert text.isascii()


def test_only_incomplete_lists_of_authors_end_in_others(records: list[PaperRecord]) -> None:
    entries = bibtexparser.parse_string(bibtex(records)).entries
    for entry, record in zip(entries, records, strict=True):
        author = entry.fields_dict.get("author")
        if author is not None:
            assert author.value.endswith("and others") is record.more_authors, record.id


def test_the_year_is_that_of_the_cited_version() -> None:
    record = replace(ODD, venue=Venue("Journal", "journal", 2025))
    assert "year = {2025}" in bibtex([record])
    assert "month" not in bibtex([record])
    assert "year = {2024}" in bibtex([record], preprint=True)
    assert csl([record])[0]["issued"] == {"date-parts": [[2025]]}
    assert "PY  - 2025" in ris([record])


def test_published_or_preprint_is_a_choice() -> None:
    assert "journal = " in bibtex([ODD])
    preprint = bibtex([ODD], preprint=True)
    assert "arXiv preprint arXiv:2401.00001" in preprint
    assert "Journal of Images" not in preprint


def test_keys_are_family_year_word_and_never_twice() -> None:
    assert keys([ODD, ODD, ODD]) == ["mullerluk202450", "mullerluk202450b", "mullerluk202450c"]
    assert len(set(keys([ODD] * 60))) == 60


def test_ris_comes_back_whole(records: list[PaperRecord]) -> None:
    text = ris([*records, ODD])
    found = rispy.loads(text)
    assert len(found) == len(records) + 1
    assert text.startswith("TY  - ")
    assert found[-1]["title"] == ODD.title
    assert found[-1]["authors"] == ["Müller-Łuk, Zoë", "van der Berg, A. B."]
    assert found[-1]["doi"] == ODD.doi


def test_csl_json_has_what_processors_want(records: list[PaperRecord]) -> None:
    found = json.loads(csl_text(records))
    assert len(found) == len(records)
    assert all({"id", "type", "title"} <= item.keys() for item in found)
    item = csl([ODD])[0]
    assert item["type"] == "article-journal"
    assert item["issued"] == {"date-parts": [[2024, 2]]}
    assert item["author"][0] == {"family": "Müller-Łuk", "given": "Zoë"}
