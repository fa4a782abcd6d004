"""Whether a work belongs in the catalogue: the SAM family and its like in medicine and biology.

The rules are words of titles in `data/scope.toml`; decisions of people on single works are there,
too, and take precedence.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from segscope.catalogue import identify
from segscope.catalogue.record import PaperRecord, RecordError
from segscope.catalogue.rows import AWESOME


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a work belongs here, and why."""

    belongs: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Scope:
    """The rules: expressions that titles must match, or must not; decisions by id or folded
    title.
    """

    field: re.Pattern[str]
    subject: re.Pattern[str]
    outside: re.Pattern[str]
    decisions: dict[str, Verdict]


@cache
def scope() -> Scope:
    """The rules and decisions that the package ships.

    Raises:
        RecordError: a decision without a reason, or with another answer than "in" or "out".
    """
    text = (resources.files("segscope.catalogue") / "data" / "scope.toml").read_text("utf-8")
    document = tomllib.loads(text)
    decisions = {}
    for key, entry in document["works"].items():
        if entry.get("is") not in ("in", "out") or not entry.get("why"):
            raise RecordError(f'scope.toml: {key} needs is = "in" or "out", and why')
        decisions[_key(key)] = Verdict(entry["is"] == "in", entry["why"])
    rules = {name: _any(words) for name, words in document["words"].items()}
    return Scope(rules["field"], rules["subject"], rules["outside"], decisions)


def _any(words: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(words), re.IGNORECASE)


def _key(name: str) -> str:
    """An id as it is, a title folded."""
    if re.match(r"(arxiv|doi|sam4mis|awesome):\S+$", name):
        return name
    return identify.fold(name)


def is_in_scope(record: PaperRecord) -> bool:
    """Whether a work of the lists belongs here: everything in SAM4MIS does."""
    if any(row.table != AWESOME for row in record.listed):
        return True
    return judge(record).belongs


def judge(record: PaperRecord) -> Verdict:
    """Whether a work belongs here, by a decision or by the words of its title and name."""
    rules = scope()
    for key in (record.id, *record.aliases, record.title):
        decision = rules.decisions.get(_key(key))
        if decision:
            return decision
    text = f"{record.name} {record.title}"
    outside = rules.outside.search(text)
    if outside:
        return Verdict(False, f"not medicine or biology: {outside[0]!r}")
    if not rules.field.search(text):
        return Verdict(False, "no word of medicine or biology in the title")
    if not rules.subject.search(text):
        return Verdict(False, "no word of segmentation or of the SAM family in the title")
    return Verdict(True, "words of the title")
