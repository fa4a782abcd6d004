"""Which records describe the same work, by identifiers, titles and first authors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations, starmap

from segscope.catalogue import identify, people
from segscope.catalogue.findings import CatalogueFinding
from segscope.catalogue.record import Author, PaperRecord

LIKE = 0.95
LONG = 30  # letters of a folded title; two works hardly share so many by chance
MOST = 0.6  # of the words of both titles, for a preprint and its published version
SOME = 0.45  # of the words of the shorter title, where the name of the method is the same


def identifiers(record: PaperRecord) -> set[str]:
    """The "arxiv:..." and "doi:..." identifiers that a record has."""
    names = set()
    if record.arxiv:
        names.add(f"arxiv:{record.arxiv.id}")
    if record.doi:
        names.add(f"doi:{record.doi}")
    return names


def same_work(one: PaperRecord, other: PaperRecord) -> bool:
    """Whether two records without a common identifier describe the same work.

    They do if their titles are equal and long; if the titles and the first author are equal; or if
    the first author is equal, the years are at most two apart and the titles are nearly equal,
    differ only in the name of the method before the colon, or are those of a preprint and its
    published version. Two preprints are one work only if they have the same first author.
    """
    same_author = people.same_person(first_author(one), first_author(other))
    same_title = _shared_title(one, other)
    if one.arxiv and other.arxiv and not same_author:
        return False
    if len(same_title) >= LONG:
        return True
    if not same_author:
        return False
    if same_title:
        return True
    if one.year and other.year and abs(one.year - other.year) > 2:
        return False
    same_main = identify.main_title(one.title) == identify.main_title(other.title)
    return same_main or _is_published(one, other) or identify.alike(one.title, other.title) > LIKE


def _shared_title(one: PaperRecord, other: PaperRecord) -> str:
    """The longest title, folded, that both have or had; "" if there is none."""
    return max(titles_of(one) & titles_of(other), key=len, default="")


def titles_of(record: PaperRecord) -> set[str]:
    """The title of a record and its former ones, folded."""
    return set(map(identify.fold, (record.title, *record.aliases)))


def _is_published(one: PaperRecord, other: PaperRecord) -> bool:
    """Whether one of two records of the same author is a preprint, and the other its published
    version: most words of the titles are the same, or some and the name of the method.
    """
    if _is_preprint(one) is _is_preprint(other):
        return False
    words = identify.words(one.title)
    other_words = identify.words(other.title)
    shared = len(words & other_words)
    if shared >= MOST * len(words | other_words):
        return True
    names = [record.title.partition(":")[0].strip().lower() for record in (one, other)]
    named = ":" in one.title and ":" in other.title and names[0] == names[1]
    return named and shared >= SOME * min(len(words), len(other_words))


def _is_preprint(record: PaperRecord) -> bool:
    is_posted = record.venue is not None and record.venue.type == "preprint"
    return is_posted or record.arxiv is not None


def may_share(one: PaperRecord, other: PaperRecord) -> bool:
    """Whether two records may share an identifier: the title, a former one, or the first author
    must agree.
    """
    if _shared_title(one, other) or identify.alike(one.title, other.title) > LIKE:
        return True
    return people.same_person(first_author(one), first_author(other))


def first_author(record: PaperRecord) -> Author | None:
    """The first author, if any is known."""
    if record.authors:
        return record.authors[0]
    return None


def near(works: Sequence[PaperRecord]) -> list[CatalogueFinding]:
    """Pairs of works that may be the same, for a person to check.

    Their titles are equal apart from the name of the method, or they have the same first author and
    name of the method.
    """
    findings: list[CatalogueFinding] = []
    by_main: dict[str, list[PaperRecord]] = defaultdict(list)
    by_name: dict[str, list[PaperRecord]] = defaultdict(list)
    for work in works:
        by_main[identify.main_title(work.title)].append(work)
        name = identify.fold(work.title.partition(":")[0])
        by_name[f"{name}|{identify.fold(work.first)}"].append(work)
    for block in [*by_main.values(), *by_name.values()]:
        findings += starmap(_possible_duplicate, combinations(block, 2))
    return list(dict.fromkeys(findings))


def _possible_duplicate(one: PaperRecord, other: PaperRecord) -> CatalogueFinding:
    both = " and ".join(f"{each.title[:60]!r} ({each.byline})" for each in (one, other))
    message = f"{both} may be the same work; both stay"
    return CatalogueFinding("possible duplicate", f"{one.id} {other.id}", message)
