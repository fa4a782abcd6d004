"""How well a search result fits the field, by the words of its title and abstract."""

from __future__ import annotations

import math
import re

from segscope.catalogue.feeds import FeedResponse
from segscope.catalogue.scope import scope

MIN_RELEVANCE = 2.0
"""Search results below it do not enter the queue."""

_WEIGHTS = (
    (r"segment[- ]?anything|\bSAM ?[23]\b|\bSAM\b|medsam", 1.5),
    (r"promptable|interactive segment|prompt", 0.5),
    (r"segment", 0.25),
)
_FIELD = 1.0  # weight of a word of medicine or biology
_OUTSIDE = -1.5  # of a word of another field


def relevance(response: FeedResponse) -> float:
    """Sum of the weights of all words; a word of the title counts twice one of the abstract."""
    rules = scope()
    weights = (*_WEIGHTS, (rules.field.pattern, _FIELD), (rules.outside.pattern, _OUTSIDE))
    return math.fsum(weight * _share(words, response) for words, weight in weights)


def _share(words: str, response: FeedResponse) -> float:
    if re.search(words, response.record.title, re.IGNORECASE):
        return 1.0
    if re.search(words, response.abstract, re.IGNORECASE):
        return 0.5
    return 0.0
