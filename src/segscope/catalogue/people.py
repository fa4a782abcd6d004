"""Names of people: the cells in which lists write authors, and whether two names are one person."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import filterfalse, takewhile

from segscope.catalogue.identify import fold
from segscope.catalogue.record import Author

_MARKS = re.compile(r"[*†‡∗§¶{}¹²³⁰-⁹]+\d*|(?<=[a-z])\d+\b")
_MARK_BETWEEN = re.compile(r"(?<=\w)[*†‡∗]+(?=\s+[A-Z])")  # instead of a comma
_OTHERS = re.compile(r"(\band\s+)?\bet\.?\s*al\b\.*|\band others\b", re.IGNORECASE)
_SEPARATOR = re.compile(r"\s*[,;&]\s*|\s+and\s+|\s*,?\s*\band\s+")
_INITIALS = re.compile(r"([A-Z]\.?[ -]*){1,4}|[A-Z]\.? ?-\w\.?")
_FAMILY_INITIALS = re.compile(r"\S+ [A-Z]{1,3}")
_PARTICLES = {"van", "von", "de", "der", "den", "del", "della", "di", "da", "dos", "du", "la", "le"}
_PARTICLES |= {"ten", "ter", "bin", "ibn", "al", "el", "zu", "y"}
_MOST = 0.6  # of the names at even places are single words where family and given names alternate


def authors(cell: str) -> tuple[tuple[Author, ...], bool]:
    """Authors of a cell, and whether it leaves out others.

    The styles of reference lists are recognised: "DL. Ferreira and R. Arnaout", "C. Zhai et al.",
    "Chen, Juan and Wu, Jiajie", "Marks, M., Israel, U.", "Ren, Chenyu, Liwen Zou, and Luying Gui",
    "Yu N, Cai Z". Which word is the family name of "Zhang Lin" cannot be recognised: it is "Lin".
    """
    names_only = _MARK_BETWEEN.sub(",", cell.rpartition("**")[2])
    text = " ".join(_MARKS.sub("", names_only).split())
    named = _OTHERS.sub("", text)
    more = named != text
    names = _split_names(named.strip(" ,.;&") + _final_period(named))
    people = tuple(map(author, names))
    alone = len(people) == 1 and _is_initials(people[0].given)
    return people, more or alone  # "Hizukuri, A." is how the first of many is cited


def _final_period(text: str) -> str:
    """The period of "Prathosh A. P.", which belongs to the initial."""
    if re.search(r"\b[A-Z]\.[ ,;&]*$", text):
        return "."
    return ""


def _split_names(text: str) -> list[str]:
    """Names in order, as "Given Family" or "Family, Given"."""
    parts = [part.strip(" ,") for part in re.split(r"\s+and\s+", text)]
    if len(parts) > 1 and all(part.count(",") == 1 for part in parts):
        return parts
    words = list(filter(None, map(str.strip, _SEPARATOR.split(text))))
    if len(words) > 1 and all(map(_FAMILY_INITIALS.fullmatch, words)):
        return [", ".join(word.split(" ")) for word in words]
    if _alternate(words):
        return list(map(", ".join, zip(words[::2], words[1::2], strict=True)))
    if len(words) > 2 and _is_first_inverted(words):
        return [f"{words[0]}, {words[1]}", *words[2:]]
    return words


def _alternate(words: Sequence[str]) -> bool:
    """Whether family and given names take turns: "Chen", "Juan", "Wu", "Jiajie"."""
    if not words or len(words) % 2:
        return False
    if all(map(_is_initials, words[1::2])):
        return True
    single = [" " not in family for family in words[::2]]
    return single[0] and sum(single) / len(single) >= _MOST


def _is_first_inverted(words: Sequence[str]) -> bool:
    """Whether only the first author is inverted: "Ren", "Chenyu", "Liwen Zou"."""
    if " " in words[0] or _is_initials(words[0]) or words[1].count(" ") > 1:
        return False
    return all(" " in word for word in words[2:])


def _is_initials(word: str) -> bool:
    return bool(_INITIALS.fullmatch(word)) and len(word) <= 9


def _is_particle(word: str) -> bool:
    return word in _PARTICLES


def author(name: str) -> Author:
    """One person, "J. Ma" or "Jun Ma" or "Ma, Jun"; joined initials ("DMH.") are separated, and
    particles ("van", "de") belong to the family name.
    """
    if "," in name:
        family, _, given_names = map(str.strip, _capitalised(name).partition(","))
        return Author(_lower(family), _lower(given_names))
    words = _capitalised(name).split()
    initials = list(takewhile(_is_initials, reversed(words[1:])))  # "Prathosh A. P."
    last = len(words) - len(initials) - 1
    particles = list(takewhile(_is_particle, reversed(words[1:last])))
    first = last - len(particles)
    given = [*words[:first], *words[last + 1 :]]
    family = " ".join(words[first : last + 1])
    return Author(_lower(family), " ".join(map(_separate_initials, map(_lower, given))))


def _capitalised(name: str) -> str:
    """A name with capitals, if it has none."""
    if name.islower() and name.replace(" ", "").isalpha():
        return name.title()
    return name


def _lower(name: str) -> str:
    """A name without capitals throughout."""
    if name.isupper() and len(name) > 3 and name.isalpha():
        return name.title()
    return name


def _separate_initials(word: str) -> str:
    """ "D. M. H." of "DMH."; other words as they are."""
    letters = word.removesuffix(".")
    if letters == word or len(word) > 5 or not (letters.isupper() and letters.isalpha()):
        return word
    return " ".join(f"{letter}." for letter in letters)


def same_person(one: Author | None, other: Author | None) -> bool:
    """Whether two authors may be the same person: equal family names, and given names with the same
    initial where both are known; or family and given name are swapped.
    """
    if one is None or other is None:
        return one is other
    if _last_word(one.family) == _last_word(other.family):
        if not one.given or not other.given:
            return True
        return _ascii(one.given)[0].lower() == _ascii(other.given)[0].lower()
    return is_swapped(one, other)


def is_swapped(one: Author, other: Author) -> bool:
    """Whether the family name of one author is the given name of the other, and the initials
    agree.
    """
    if not one.given or not other.given:
        return False
    return _is_reversed(one, other) or _is_reversed(other, one)


def _is_reversed(one: Author, other: Author) -> bool:
    """Whether the family name of one is the given name of the other, and the initials agree."""
    is_same_name = fold(_ascii(one.family)) == fold(_ascii(other.given))
    return is_same_name and one.given[:1] == other.family[:1]


def _last_word(family: str) -> str:
    """The plain family name without particles, which some lists leave out."""
    return fold(_ascii(family.rpartition(" ")[2]))


def _ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text)
    return "".join(filterfalse(unicodedata.combining, plain)) or text
