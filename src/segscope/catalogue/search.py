"""Which records are wanted: words, years, tags, code."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import log

from segscope.catalogue.record import TAGS, Record
from segscope.errors import UsageError

SORTS = ("date", "title", "author")


@dataclass(frozen=True, slots=True)
class Query:
    """All conditions must hold; of several terms of one tag, one.

    Attributes:
        words: each in title, authors, tags, venue or id; "double quotes" keep words together.
        years: first and last, or None.
        tags: terms of the vocabularies by tag, for instance {"modality": ("US",)}.
        has_code: with a link to code or a project page.
        ids: only these, where given.
    """

    words: str = ""
    years: tuple[int, int] | None = None
    tags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    has_code: bool = False
    ids: frozenset[str] | None = None
    sort: str = "date"

    def accepts(self, record: Record) -> bool:
        """Whether a record fulfils every condition but the words."""
        if self.years and not (record.year and self.years[0] <= record.year <= self.years[1]):
            return False
        if self.has_code and not record.has_code:
            return False
        if self.ids is not None and record.id not in self.ids:
            return False
        return all(
            set(getattr(record, tag)) & set(terms) for tag, terms in self.tags.items() if terms
        )


def search(records: Iterable[Record], query: Query) -> list[Record]:
    """Records that a query wants, in its order."""
    wanted = [plain(quoted or word) for quoted, word in re.findall(r'"([^"]+)"|(\S+)', query.words)]
    found = [record for record in records if query.accepts(record)]
    if wanted:
        found = [
            record
            for record in found
            if all(word in text for text in (haystack(record),) for word in wanted)
        ]
    if query.sort == "title":
        found.sort(key=lambda record: plain(record.title))
    elif query.sort == "author":
        found.sort(key=lambda record: plain(record.first))
    return found


def haystack(record: Record) -> str:
    """The text that words are looked for in: folded to plain lower case."""
    names = [str(author) for author in record.authors]
    tags = [term for tag in TAGS for term in getattr(record, tag)]
    if record.venue:
        venue = [record.venue.name]
    else:
        venue = []
    if record.code:
        code = [record.code.repo]
    else:
        code = []
    return plain(
        " ".join(
            [record.title, *names, *tags, *venue, *code, record.id, record.doi, *record.aliases]
        )
    )


def plain(text: str) -> str:
    """Lower case without accents."""
    folded = text
    if not text.isascii():
        folded = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in folded.lower() if not unicodedata.combining(letter))


def years(text: str) -> tuple[int, int]:
    """(2024, 2025) of "2024-2025", "2024-" or "2024".

    Raises:
        UsageError: none of these.
    """
    found = re.fullmatch(r"\s*((?:19|20)\d\d)\s*(-\s*((?:19|20)\d\d)?\s*)?", text)
    if not found:
        raise UsageError(f"{text!r} is no year; wanted 2025, 2024-2025 or 2024-")
    first = int(found[1])
    if found[3]:
        last = int(found[3])
    elif found[2]:
        last = 9999
    else:
        last = first
    if last < first:
        raise UsageError(f"{text!r} ends before it begins; wanted for instance {last}-{first}")
    return first, last


def related(record: Record, records: Sequence[Record], number: int = 5) -> list[Record]:
    """Works nearest to a record: rare words of the title and tags in common."""
    features = {each.id: _features(each) for each in records}
    spread = Counter(feature for each in features.values() for feature in each)
    own = features.get(record.id, _features(record))

    def nearness(other: Record) -> float:
        shared = own & features[other.id]
        return (
            sum(log(len(records) / spread[feature]) for feature in shared)
            / (6 + len(features[other.id])) ** 0.5
        )

    ranked = sorted((each for each in records if each.id != record.id), key=nearness, reverse=True)
    return [each for each in ranked[:number] if nearness(each) > 0]


def _features(record: Record) -> set[str]:
    words = set(re.findall(r"[a-z0-9]{3,}", plain(record.title)))
    return words | {f"{tag}={term}" for tag in TAGS for term in getattr(record, tag)}
