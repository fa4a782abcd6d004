"""Search: records by words, years, tags and code, ranked by the words that match."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import log
from operator import mul

from segscope.catalogue.record import TAGS, PaperRecord
from segscope.catalogue.words import QueryWord, Searchable, parse_words, plain
from segscope.errors import UsageError

ENOUGH = 0.5
"""Share of a query, by the rarity of its words, that a record without all words must match."""

FEW = 5
"""Where fewer records match all words, those that match most of them follow."""


@dataclass(frozen=True, slots=True)
class Query:
    """Conditions on a record; all must hold, and of several terms of one tag, at least one.

    Attributes:
        words: looked up in title, tags, authors, venue and id; "double quotes" keep words together.
            Where few records have all of them, records with most of them follow.
        years: first and last, or None.
        tags: terms of the vocabularies by tag, for instance {"modality": ("US",)}.
        has_code: only records with a link to code or a project page.
        ids: only these records, or None for all.
        sort: "relevance", "date", "title" or "author"; "" is relevance with words, else date.
        all_words: only records that have all words.
    """

    words: str = ""
    years: tuple[int, int] | None = None
    tags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    has_code: bool = False
    ids: frozenset[str] | None = None
    sort: str = ""
    all_words: bool = False

    def accepts(self, record: PaperRecord) -> bool:
        """Whether a record meets every condition except the words."""
        if self.years is not None and not _is_within(record.year, self.years):
            return False
        if self.has_code and not record.has_code:
            return False
        if self.ids is not None and record.id not in self.ids:
            return False
        return self._has_tags(record)

    def _has_tags(self, record: PaperRecord) -> bool:
        for tag, terms in self.tags.items():
            if terms and set(terms).isdisjoint(getattr(record, tag)):
                return False
        return True


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Result of a search.

    Attributes:
        records: sorted as the query says.
        with_all_words: number of records that have all words that any record has.
        unmatched: words that no record has.
    """

    records: list[PaperRecord]
    with_all_words: int
    unmatched: tuple[str, ...] = ()


def _is_within(year: int | None, years: tuple[int, int]) -> bool:
    first, last = years
    return year is not None and first <= year <= last


def search(records: Iterable[PaperRecord], query: Query) -> list[PaperRecord]:
    """Records that match a query, sorted as it says."""
    return find(records, query).records


def find(records: Iterable[PaperRecord], query: Query) -> SearchResult:
    """Records that match a query, and which of its words match nothing."""
    accepted = list(filter(query.accepts, records))
    words = parse_words(query.words)
    if not words:
        return SearchResult(_sorted(accepted, query.sort), len(accepted))
    ranking = _Ranking(accepted, words)
    if any(word.is_phrase for word in ranking.unmatched):
        words = parse_words(query.words.replace('"', " "))
        ranking = _Ranking(accepted, words)
    matches, with_all_words = ranking.matches(all_words=query.all_words)
    if query.sort not in ("", "relevance"):
        ids = {record.id for record in matches}
        matches = _sorted([record for record in accepted if record.id in ids], query.sort)
    unmatched = tuple(word.text for word in ranking.unmatched)
    return SearchResult(matches, with_all_words, unmatched)


def _sorted(records: list[PaperRecord], order: str) -> list[PaperRecord]:
    """Records in an order; by date they are already."""
    if order == "title":
        return sorted(records, key=lambda record: plain(record.title))
    if order == "author":
        return sorted(records, key=lambda record: plain(record.first))
    return records


class _Ranking:
    """How well records match the words of a query.

    Attributes:
        unmatched: words that no record has.
    """

    def __init__(self, records: Sequence[PaperRecord], words: Sequence[QueryWord]) -> None:
        self._records = records
        self._weights = [_weigh(words, record) for record in records]
        self._rarity = []
        self.unmatched = []
        for at, word in enumerate(words):
            frequency = sum(row[at] > 0 for row in self._weights)
            self._rarity.append(log(1 + len(records) / frequency) if frequency else 0.0)
            if not frequency:
                self.unmatched.append(word)
        phrases = [at for at, word in enumerate(words) if word.is_phrase]
        self._candidates = [
            at for at, row in enumerate(self._weights) if all(row[place] for place in phrases)
        ]

    def matches(self, *, all_words: bool) -> tuple[list[PaperRecord], int]:
        """Records, those with most words and the best matches first and of equal ones the newest;
        number of those with all words that any record has.
        """
        possible = sum(rarity > 0 for rarity in self._rarity)
        if not possible or (all_words and self.unmatched):
            return [], 0
        whole = [at for at in self._candidates if self._matched(at) == possible]
        chosen = whole
        if len(whole) < FEW and not all_words:
            least = ENOUGH * sum(self._rarity)
            chosen = [at for at in self._candidates if self._share(at) >= least]
        chosen.sort(key=lambda at: (self._matched(at), self._score(at)), reverse=True)
        return [self._records[at] for at in chosen], len(whole)

    def _matched(self, at: int) -> int:
        return sum(weight > 0 for weight in self._weights[at])

    def _share(self, at: int) -> float:
        pairs = zip(self._weights[at], self._rarity, strict=True)
        return sum(rarity for weight, rarity in pairs if weight)

    def _score(self, at: int) -> float:
        return sum(map(mul, self._weights[at], self._rarity))


def _weigh(words: Sequence[QueryWord], record: PaperRecord) -> list[float]:
    """How well each word matches a record."""
    searchable = Searchable.of(record)
    return list(map(searchable.weight, words))


def years(text: str) -> tuple[int, int]:
    """(2024, 2025) of "2024-2025", "2024-" or "2024".

    Raises:
        UsageError: another form.
    """
    match = re.fullmatch(r"\s*((?:19|20)\d\d)\s*(-\s*((?:19|20)\d\d)?\s*)?", text)
    if not match:
        raise UsageError(f"{text!r} is not a range of years; write 2025, 2024-2025 or 2024-")
    first = int(match[1])
    if match[3]:
        last = int(match[3])
    elif match[2]:
        last = 9999
    else:
        last = first
    if last < first:
        raise UsageError(f"{text!r} ends before it begins; did you mean {last}-{first}?")
    return first, last


def related(
    record: PaperRecord, records: Sequence[PaperRecord], number: int = 5
) -> list[PaperRecord]:
    """The works most similar to a record: those that share rare words of the title, and tags."""
    features = {each.id: _features(each) for each in records}
    frequency = Counter(chain.from_iterable(features.values()))
    own = features.get(record.id, _features(record))

    def similarity(other: PaperRecord) -> float:
        theirs = features[other.id]
        rarity = sum(log(len(records) / frequency[feature]) for feature in own & theirs)
        # the constant keeps titles of two or three words from winning by their length alone
        return rarity / (6 + len(theirs)) ** 0.5

    others = [each for each in records if each.id != record.id]
    others.sort(key=similarity, reverse=True)
    return [each for each in others[:number] if similarity(each) > 0]


def _features(record: PaperRecord) -> set[str]:
    words = set(re.findall(r"[a-z0-9]{3,}", plain(record.title)))
    return words | {f"{tag}={term}" for tag in TAGS for term in getattr(record, tag)}
