"""Search: records by words, years, tags and code."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import log

from segscope.catalogue.record import TAGS, PaperRecord
from segscope.errors import UsageError


@dataclass(frozen=True, slots=True)
class Query:
    """Conditions on a record; all must hold, and of several terms of one tag, at least one.

    Attributes:
        words: each in title, authors, tags, venue or id; "double quotes" keep words together.
        years: first and last, or None.
        tags: terms of the vocabularies by tag, for instance {"modality": ("US",)}.
        has_code: only records with a link to code or a project page.
        ids: only these records, or None for all.
        sort: "date", "title" or "author".
    """

    words: str = ""
    years: tuple[int, int] | None = None
    tags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    has_code: bool = False
    ids: frozenset[str] | None = None
    sort: str = "date"

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


def _is_within(year: int | None, years: tuple[int, int]) -> bool:
    first, last = years
    return year is not None and first <= year <= last


def search(records: Iterable[PaperRecord], query: Query) -> list[PaperRecord]:
    """Records that match a query, sorted as it says."""
    phrases = re.findall(r'"([^"]+)"|(\S+)', query.words)
    words = [plain(quoted or word) for quoted, word in phrases]
    matches = [record for record in records if query.accepts(record)]
    if words:
        matches = [record for record in matches if _contains(record, words)]
    if query.sort == "title":
        matches.sort(key=lambda record: plain(record.title))
    elif query.sort == "author":
        matches.sort(key=lambda record: plain(record.first))
    return matches


def _contains(record: PaperRecord, words: Sequence[str]) -> bool:
    text = haystack(record)
    return all(word in text for word in words)


def haystack(record: PaperRecord) -> str:
    """The text that is searched for words, in plain lower case."""
    parts = [record.title, record.id, record.doi]
    parts += map(str, record.authors)
    for tag in TAGS:
        parts += getattr(record, tag)
    if record.venue:
        parts.append(record.venue.name)
    if record.code:
        parts.append(record.code.repo)
    parts += record.aliases
    return plain(" ".join(parts))


def plain(text: str) -> str:
    """Lower case without accents."""
    folded = text
    if not text.isascii():
        folded = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in folded.lower() if not unicodedata.combining(letter))


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
    frequency = Counter(feature for each in features.values() for feature in each)
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
