"""Controlled vocabularies: the terms of each tag, other words for them, and the rules that find
them in titles.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from segscope.catalogue.record import TAGS, Record, RecordError
from segscope.errors import UnknownName


@dataclass(frozen=True, slots=True)
class Term:
    """One term: what people call it, and regular expressions that betray it, without regard to case
    unless they say.
    """

    name: str
    aliases: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()


@cache
def vocabulary() -> Mapping[str, tuple[Term, ...]]:
    """Terms of each tag, in order."""
    text = (resources.files("segscope.catalogue") / "data" / "vocabulary.toml").read_text("utf-8")
    return {
        tag: tuple(_term(name, value) for name, value in terms.items())
        for tag, terms in tomllib.loads(text).items()
    }


def _term(name: str, value: Mapping[str, Any]) -> Term:
    return Term(name, tuple(value.get("aliases", ())), tuple(value.get("rules", ())))


def term(tag: str, word: str) -> str:
    """The term of a tag that somebody means by a word.

    Raises:
        UnknownName: none; the message lists near ones.
    """
    wanted = _plain(word)
    terms = vocabulary()[tag]
    for entry in terms:
        if wanted in (_plain(entry.name), *map(_plain, entry.aliases)):
            return entry.name
    known = [entry.name for entry in terms]
    raise UnknownName(tag.replace("_", " "), word, known, f"Known: {', '.join(known)}.")


def _plain(word: str) -> str:
    return re.sub(r"[\s_-]+", "", word).lower()


@cache
def _compiled() -> Mapping[str, tuple[tuple[str, re.Pattern[str]], ...]]:
    return {
        tag: tuple(
            (entry.name, re.compile("|".join(entry.rules), re.IGNORECASE))
            for entry in terms
            if entry.rules
        )
        for tag, terms in vocabulary().items()
    }


@lru_cache(maxsize=4096)
def tags_in(text: str) -> Mapping[str, tuple[str, ...]]:
    """What the rules find in a text, by tag; tags without a find are left out."""
    found = {
        tag: tuple(name for name, rule in rules if rule.search(text))
        for tag, rules in _compiled().items()
    }
    return {tag: terms for tag, terms in found.items() if terms}


def check_terms(records: Iterable[Record]) -> None:
    """Refuse tags that are in no vocabulary.

    Raises:
        RecordError: names the record and the tag.
    """
    known = {tag: {entry.name for entry in terms} for tag, terms in vocabulary().items()}
    for record in records:
        for tag in TAGS:
            if strange := set(getattr(record, tag)) - known[tag]:
                raise RecordError(f"{record.id}: no {tag} is called {', '.join(sorted(strange))}")
