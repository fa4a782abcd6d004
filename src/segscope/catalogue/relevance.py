"""How well a search result fits the field, by the words of its title and abstract."""

from __future__ import annotations

import math
import re

from segscope.catalogue.feeds import FeedResponse

MIN_RELEVANCE = 2.0
"""Search results below it do not enter the queue."""

_WEIGHTS = (
    (r"segment[- ]?anything|\bSAM ?[23]\b|\bSAM\b|medsam", 1.5),
    (r"promptable|interactive segment|prompt", 0.5),
    (
        r"medical|biomedical|clinical|radiolog|patholog|microscop|endoscop|surg|ultrasound|"
        r"\bCT\b|\bMRI?\b",
        1.0,
    ),
    (r"segment", 0.25),
    (r"remote sensing|satellite|agricultur|crop|autonomous driving|industrial", -1.5),
)


def relevance(response: FeedResponse) -> float:
    """Sum of the weights of all words; a word of the title counts twice one of the abstract."""
    return math.fsum(weight * _share(words, response) for words, weight in _WEIGHTS)


def _share(words: str, response: FeedResponse) -> float:
    if re.search(words, response.record.title, re.IGNORECASE):
        return 1.0
    if re.search(words, response.abstract, re.IGNORECASE):
        return 0.5
    return 0.0
