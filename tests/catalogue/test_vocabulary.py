"""Terms and their synonyms."""

from __future__ import annotations

import pytest

from segscope.catalogue.vocabulary import term, vocabulary
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
