"""Controlled vocabularies: the terms of each tag, their synonyms, and the rules that recognise them
in titles.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from itertools import starmap
from typing import Any

from segscope.catalogue.record import TAGS, PaperRecord, RecordError
from segscope.errors import UnknownName


@dataclass(frozen=True, slots=True)
class Term:
    """One term: its name, its synonyms, and regular expressions that recognise it, which ignore
    case unless they say otherwise.
    """

    name: str
    aliases: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()


@cache
def vocabulary() -> Mapping[str, tuple[Term, ...]]:
    """Terms of each tag, in order."""
    text = (resources.files("segscope.catalogue") / "data" / "vocabulary.toml").read_text("utf-8")
    return {tag: tuple(starmap(_term, terms.items())) for tag, terms in tomllib.loads(text).items()}


def _term(name: str, value: Mapping[str, Any]) -> Term:
    return Term(name, tuple(value.get("aliases", ())), tuple(value.get("rules", ())))


def term(tag: str, word: str) -> str:
    """The term of a tag with this name or synonym.

    Raises:
        UnknownName: no such term; the message lists similar ones.
    """
    plain = _plain(word)
    terms = vocabulary()[tag]
    for entry in terms:
        if plain in map(_plain, (entry.name, *entry.aliases)):
            return entry.name
    known = [entry.name for entry in terms]
    raise UnknownName(tag.replace("_", " "), word, known, f"Known: {', '.join(known)}.")


def _plain(word: str) -> str:
    return re.sub(r"[\s_-]+", "", word).lower()


Rule = tuple[str, re.Pattern[str]]
"""A term, and the expression that recognises it."""


@cache
def _rules() -> Mapping[str, tuple[Rule, ...]]:
    return {tag: tuple(_compile_rules(terms)) for tag, terms in vocabulary().items()}


def _compile_rules(terms: Iterable[Term]) -> Iterator[Rule]:
    for entry in terms:
        if entry.rules:
            yield entry.name, re.compile("|".join(entry.rules), re.IGNORECASE)


@lru_cache(maxsize=4096)
def tags_in(text: str) -> Mapping[str, tuple[str, ...]]:
    """Terms that the rules recognise in a text, by tag; tags without a term are left out."""
    tags = {}
    for tag, rules in _rules().items():
        terms = tuple(name for name, rule in rules if rule.search(text))
        if terms:
            tags[tag] = terms
    return tags


def check_terms(records: Iterable[PaperRecord]) -> None:
    """Refuse terms that are in no vocabulary.

    Raises:
        RecordError: names the record and the tag.
    """
    known = {tag: {entry.name for entry in terms} for tag, terms in vocabulary().items()}
    for record in records:
        for tag in TAGS:
            unknown = set(getattr(record, tag)) - known[tag]
            if unknown:
                names = ", ".join(sorted(unknown))
                raise RecordError(f"{record.id}: unknown {tag.replace('_', ' ')} {names}")
