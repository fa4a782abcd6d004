"""Words of queries and records: plain, without plurals, and with their synonyms."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import filterfalse

from segscope.catalogue.record import TAGS, PaperRecord
from segscope.catalogue.vocabulary import vocabulary

WEIGHTS = (4.0, 2.0, 1.0)
"""Weights of a word in the title, in the tags, and anywhere else."""

INSIDE = 0.6
"""Share of the weight for a word that is only a part of one of the record."""

SYNONYM = 0.8
"""Share of the weight for a synonym."""

_MIN_INSIDE = 3  # letters of a word that is looked up inside others

_SHORT = 3  # letters of words that have no plural to remove
_TOKEN = re.compile(r"[a-z0-9]+")
_HYPHENATED = re.compile(r"\b[a-z0-9]+(?:-[a-z0-9]+)+")
_PHRASE = re.compile(r'"([^"]+)"|([^\s"]+)')
VERSION = re.compile(r"\b(?:(med)[ -]?)?sam[ -]?(2(?:[.]1)?|3)(?![0-9.]|-?d)")
"""SAM 2 and its like in plain text; also a regular expression of JavaScript."""

STOP_WORDS = frozenset(
    ("a", "an", "and", "for", "from", "in", "of", "on", "or", "the", "to", "using", "via", "with")
)
_SYNONYMS = (
    ("surgical", "surgery", "surgeon", "laparoscopic", "laparoscopy"),
    ("tumor", "tumour", "cancer"),
    ("cardiac", "heart"),
    ("kidney", "renal"),
    ("retina", "retinal"),
    ("video", "tracking"),
    ("volumetric", "volume", "3d"),
    ("efficient", "lightweight", "fast"),
    ("finetuning", "finetune", "finetuned"),
    ("segmentation", "segment", "segmenting"),
    ("interactive", "promptable"),
    ("cell", "nucleus", "nuclei", "cellular"),
    ("annotation", "label", "labeling", "labelling"),
    ("benchmark", "evaluation", "comparison"),
)
"""Words that stand for each other, beside the synonyms of the vocabularies."""


@dataclass(frozen=True, slots=True)
class QueryWord:
    """One word of a query, or a phrase in quotation marks.

    Attributes:
        text: as it was written.
        alternatives: token sequences, plain and without plurals, any of which matches; the first is
            that of the word itself.
        is_phrase: whether its words must follow each other.
    """

    text: str
    alternatives: tuple[tuple[str, ...], ...]
    is_phrase: bool = False


@dataclass(frozen=True, slots=True)
class Searchable:
    """The tokens of a record by field, each as " token token "."""

    title: str
    tags: str
    other: str

    @classmethod
    def of(cls, record: PaperRecord) -> Searchable:
        """The fields of a record; tags with their synonyms."""
        title = [record.title, record.name]
        tags = []
        for tag in TAGS:
            for term in getattr(record, tag):
                tags += [term, *_aliases()[tag, term]]
        other = [record.id, record.doi, *map(str, record.authors), *record.aliases]
        if record.venue:
            other.append(record.venue.name)
        if record.code:
            other.append(record.code.repo)
        return cls(*map(_join_tokens, (title, tags, other)))

    def weight(self, word: QueryWord) -> float:
        """How well a word matches: by the field, and less for a synonym or a part of a word; 0 for
        no match.
        """
        own, *synonyms = word.alternatives
        weight = self._weight(own, inside=not word.is_phrase)
        for tokens in synonyms:
            weight = max(weight, SYNONYM * self._weight(tokens, inside=False))
        return weight

    def _weight(self, tokens: tuple[str, ...], *, inside: bool) -> float:
        whole = _spaced(tokens)
        part = ""
        if inside and len(whole.strip()) >= _MIN_INSIDE:
            part = whole.strip()
        best = 0.0
        for text, weight in zip((self.title, self.tags, self.other), WEIGHTS, strict=True):
            if whole in text:
                best = max(best, weight)
            elif part and part in text:
                best = max(best, INSIDE * weight)
        return best


@cache
def _aliases() -> Mapping[tuple[str, str], tuple[str, ...]]:
    """Synonyms of each term of each tag."""
    return {(tag, term.name): term.aliases for tag, terms in vocabulary().items() for term in terms}


def _spaced(words: Sequence[str]) -> str:
    return f" {' '.join(words)} "


def _join_tokens(texts: Sequence[str]) -> str:
    return _spaced(tokens(" | ".join(texts)))


def tokens(text: str) -> list[str]:
    """The words of a text: plain, without plurals, "SAM 2" as "sam2"; hyphenated words in parts,
    and joined at the end.
    """
    joined = VERSION.sub(_join_version, plain(text))
    words = list(map(singular, _TOKEN.findall(joined)))
    hyphenated = [singular(word.replace("-", "")) for word in _HYPHENATED.findall(joined)]
    return words + hyphenated


def _join_version(match: re.Match[str]) -> str:
    return f"{match[1] or ''}sam{match[2].replace('.', '')}"


@lru_cache(maxsize=16384)
def singular(word: str) -> str:
    """A plain English word without the ending of the plural."""
    if len(word) <= _SHORT or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1]


def plain(text: str) -> str:
    """Lower case without accents."""
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKD", text).lower()
    return "".join(filterfalse(unicodedata.combining, folded))


def parse_words(text: str) -> list[QueryWord]:
    """The words and phrases of a query, without "of", "the" and the like if others are left."""
    written = VERSION.sub(_join_version, plain(text))
    words = []
    for phrase, word in _PHRASE.findall(written):
        parts = list(map(singular, _TOKEN.findall(phrase or word)))
        if parts:
            words.append(QueryWord(phrase or word, _alternatives(parts, phrase), bool(phrase)))
    meaningful = [word for word in words if word.text not in STOP_WORDS]
    return meaningful or words


def _alternatives(parts: Sequence[str], phrase: str) -> tuple[tuple[str, ...], ...]:
    """The tokens of a word, and its synonyms; "few-shot" is also "fewshot"."""
    own = tuple(parts)
    if phrase:
        return (own,)
    others = ["".join(parts)]
    if len(parts) == 1:
        others += synonyms().get(parts[0], ())
    return tuple(dict.fromkeys([own, *((other,) for other in others)]))


@cache
def synonyms() -> Mapping[str, Sequence[str]]:
    """Words that stand for each other, by word."""
    return {word: group for group in _SYNONYMS for word in group}
