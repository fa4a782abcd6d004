"""How well search results fit the field."""

from __future__ import annotations

from segscope.catalogue.feeds import FeedResponse
from segscope.catalogue.record import PaperRecord
from segscope.catalogue.relevance import MIN_RELEVANCE, relevance


def response(title: str, abstract: str = "") -> FeedResponse:
    return FeedResponse(PaperRecord("arxiv:2605.00001", title), abstract)


def test_words_of_the_title_count_twice_those_of_the_abstract() -> None:
    assert relevance(response("SAM 2")) == 2 * relevance(response("A title", "We use SAM 2."))


def test_only_medical_segmentation_with_prompts_is_relevant() -> None:
    assert relevance(response("Promptable segmentation of CT with SAM 3")) >= MIN_RELEVANCE
    assert relevance(response("SAM 2 for satellite images of crops")) < MIN_RELEVANCE
    assert relevance(response("A survey of transformers")) == 0
