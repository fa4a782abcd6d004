"""Terms and their synonyms."""

from __future__ import annotations

import pytest

from segscope.catalogue.store import Catalogue, snapshot
from segscope.catalogue.vocabulary import tags_in, term, vocabulary
from segscope.errors import UnknownName


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
    ("identifier", "tag", "name"),
    [
        ("2305.00035", "task", "zero-shot-eval"),
        ("2304.14660", "task", "zero-shot-eval"),
        ("2304.07583", "task", "zero-shot-eval"),
        ("2506.10465", "prompts", "text"),
        ("2312.17183", "prompts", "text"),
        ("2606.15604", "modality", "CT"),
        ("2606.15604", "dimension", "3D"),
    ],
)
def test_records_have_the_tags_that_their_title_gives(identifier: str, tag: str, name: str) -> None:
    record = Catalogue(snapshot()).find(identifier)
    assert name in getattr(record, tag)
    assert record.guessed(tag) == 0.9


@pytest.mark.parametrize(
    ("title", "tag"),
    [
        ("Enhancing images to improve the performance of SAM", "task"),
        ("SAM fails to segment anything? SAM-Adapter is better", "task"),
        ("A-SAM: how far can we go?", "task"),
    ],
)
def test_titles_that_only_sound_like_a_term_get_no_tag(title: str, tag: str) -> None:
    assert tag not in tags_in(title)
