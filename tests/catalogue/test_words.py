"""Words of queries and records."""

from __future__ import annotations

import pytest

from segscope.catalogue.record import PaperRecord
from segscope.catalogue.words import Searchable, parse_words, singular, tokens


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("images", "image"),
        ("biopsies", "biopsy"),
        ("boxes", "box"),
        ("masses", "mass"),
        ("us", "us"),
        ("virus", "virus"),
        ("analysis", "analysis"),
        ("cts", "cts"),
    ],
)
def test_plurals_lose_their_ending(word: str, expected: str) -> None:
    assert singular(word) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SAM 2", ["sam2"]),
        ("MedSAM-2 and SAM-3", ["medsam2", "and", "sam3"]),
        ("SAM 2.1", ["sam21"]),
        ("SAM 3D", ["sam", "3d"]),
        ("few-shot U-Nets", ["few", "shot", "u", "net", "fewshot", "unet"]),
        ("Gutiérrez", ["gutierrez"]),
    ],
)
def test_tokens_are_plain_and_join_versions_and_hyphens(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


def weight(query: str, record: PaperRecord) -> float:
    [word] = parse_words(query)
    return Searchable.of(record).weight(word)


def test_the_title_weighs_more_than_tags_and_tags_more_than_names() -> None:
    record = PaperRecord(
        "arxiv:2609.00001", "Adapters of echocardiography", modality=("US",), aliases=("Old Name",)
    )
    in_title, in_tags, in_other = (weight(word, record) for word in ("adapter", "us", "old"))
    assert in_title > in_tags > in_other > 0
    assert weight("ultrasound", record) == in_tags  # a synonym of the tag
    assert 0 < weight("cardio", record) < in_title  # a part of a word
    assert weight("kidney", record) == 0


def test_synonyms_match_less_than_the_word_itself() -> None:
    record = PaperRecord("arxiv:2609.00001", "Laparoscopic images")
    assert 0 < weight("surgical", record) < weight("laparoscopic", record)


def test_quotation_marks_make_phrases_and_small_words_are_left_out() -> None:
    words = parse_words('masks of "optic disc" in the fundus')
    assert [(word.text, word.is_phrase) for word in words] == [
        ("masks", False),
        ("optic disc", True),
        ("fundus", False),
    ]
    assert [word.text for word in parse_words("of the")] == ["of", "the"]
    assert parse_words(" - ") == []
