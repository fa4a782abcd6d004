"""Identifiers, titles, names and links of the sources, normalised."""

from __future__ import annotations

import difflib
import hashlib
import re
import unicodedata
from functools import lru_cache
from urllib.parse import urlsplit, urlunsplit

from segscope.catalogue.record import Author, CodeRepository, Venue

_ARXIV = re.compile(r"(?<![\d.])(\d{4}\.\d{4,5})(?:v(\d+))?(?!\d)")
_DOI = re.compile(r"10\.\d{4,9}/[^\s?#\"<>]+")
_DOI_TAIL = re.compile(r"(/meta|/full|/abstract|\.short|\.full|\.abstract|\.pdf|v\d+|[.,;)])+$")
CODE_HOSTS = (
    "github.com",
    "gitlab.com",
    "bitbucket.org",
    "codeberg.org",
    "gitee.com",
    "huggingface.co",
)
_TRACKING = re.compile(r"(?i)^(casa_token|journalcode|utm_\w+)=")
NATURE = {
    "s41467": "Nature Communications",
    "s41592": "Nature Methods",
    "s41598": "Scientific Reports",
    "s41746": "npj Digital Medicine",
    "s41551": "Nature Biomedical Engineering",
    "s44172": "Communications Engineering",
}


def arxiv_id(text: str) -> str:
    """The arXiv id, without version, of a link or a bare id; "" if there is none."""
    match = _ARXIV.fullmatch(text.strip())
    if "arxiv" in text.lower():
        match = _ARXIV.search(text)
    if match:
        return match[1]
    return ""


def arxiv_month(identifier: str) -> str:
    """ "2024-08" of "2408.00756"."""
    return f"20{identifier[:2]}-{identifier[2:4]}"


_DOI_RULES = (
    # (hosts, pattern, DOI); {1} is the first group of the pattern
    (("nature.com",), re.compile(r"/articles/(s\d{5}-[\w-]+)"), "10.1038/{1}"),
    (
        ("biorxiv.org", "medrxiv.org"),
        re.compile(r"(\d{4}\.\d\d\.\d\d\.\d+)"),
        "10.1101/{1}",
    ),
    (
        ("preprints.org",),
        re.compile(r"/manuscript/(\d+\.\d+)/v(\d+)"),
        "10.20944/preprints{1}.v{2}",
    ),
)


def doi_of(url: str) -> str:
    """The DOI that a link contains, lower case; "" where it would have to be resolved."""
    match = _DOI.search(url)
    if match:
        return _DOI_TAIL.sub("", match[0]).lower()
    host = urlsplit(url).netloc
    for hosts, pattern, doi in _DOI_RULES:
        match = pattern.search(url)
        if host.endswith(hosts) and match:
            return doi.format(*(group.lower() for group in (match[0], *match.groups())))
    return ""


@lru_cache(maxsize=16384)
def fold(title: str) -> str:
    """A title for comparison: NFKC, lower case, letters and digits only."""
    text = unicodedata.normalize("NFKC", title).lower()
    return "".join(letter for letter in text if letter.isalnum())


def main_title(title: str) -> str:
    """The folded title without the name of a method before its first colon; the whole title if
    little would remain.
    """
    name, colon, rest = title.partition(":")
    if colon and len(name.split()) <= 3 and len(fold(rest)) >= 25:
        return fold(rest)
    return fold(title)


def alike(one: str, other: str) -> float:
    """Similarity of two titles, 0 to 1."""
    a = fold(one)
    b = fold(other)
    if a == b:
        return 1.0
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    if matcher.quick_ratio() > 0.9:
        return matcher.ratio()
    return matcher.quick_ratio() * 0.9


def slug(title: str, first_author: str) -> str:
    """A stable id for works that have no identifier of their own."""
    text = f"{fold(title)}|{fold(first_author)}"
    return f"sam4mis:{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def authors(cell: str) -> tuple[tuple[Author, ...], bool]:
    """Authors of a cell such as "DL. Ferreira and R. Arnaout" or "C. Zhai et al.", and whether it
    leaves out others.
    """
    text = " ".join(cell.split())
    names = re.sub(r"\bet\.? al\.?", "", text).strip(" ,")
    people = tuple(author(name) for name in re.split(r"\s+and\s+|\s*,\s*", names) if name)
    return people, names != text.strip(" ,")


def author(name: str) -> Author:
    """One person, "J. Ma" or "Jun Ma" or "Ma, Jun"; joined initials ("DMH.") are separated."""
    if "," in name:
        family, _, given_names = (part.strip() for part in name.partition(","))
        return Author(family, given_names)
    *given, family = name.split()
    return Author(family, " ".join(map(_separate_initials, given)))


def _separate_initials(word: str) -> str:
    """ "D. M. H." of "DMH."; other words as they are."""
    letters = word.removesuffix(".")
    if letters == word or len(word) > 5 or not (letters.isupper() and letters.isalpha()):
        return word
    return " ".join(f"{letter}." for letter in letters)


def same_person(one: Author | None, other: Author | None) -> bool:
    """Whether two authors may be the same person: equal family names, and given names with the same
    initial where both are known.
    """
    if one is None or other is None:
        return one is other
    if fold(_ascii(one.family)) != fold(_ascii(other.family)):
        return False
    if not one.given or not other.given:
        return True
    return _ascii(one.given)[0].lower() == _ascii(other.given)[0].lower()


def _ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in plain if not unicodedata.combining(letter)) or text


def link(url: str) -> str:
    """A link with a scheme, without tracking, fragments, `.git` and trailing slash; "" if the text
    is not a link.
    """
    text = url.strip()
    if not text or text.lower() in ("none", "n/a", "-", "coming soon"):
        return ""
    if "://" not in text:
        text = f"https://{text}"
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or "." not in parts.netloc or " " in text:
        return ""
    host = parts.netloc.lower()
    if host.removeprefix("www.") in CODE_HOSTS:
        host = host.removeprefix("www.")
    path = parts.path.removesuffix("/").removesuffix(".git")
    items = [item for item in parts.query.split("&") if item and not _TRACKING.match(item)]
    return urlunsplit((parts.scheme, host, path, "&".join(items), ""))


def paper_link(url: str) -> str:
    """A link to a work; arXiv's without a version."""
    identifier = arxiv_id(url)
    if identifier:
        return f"https://arxiv.org/abs/{identifier}"
    return link(url)


def repository(url: str) -> CodeRepository | None:
    """Host and name of a code link; None for project pages."""
    parts = urlsplit(link(url))
    names = [name for name in parts.path.split("/") if name]
    if parts.netloc not in CODE_HOSTS or len(names) < 2:
        return None
    return CodeRepository(parts.netloc, "/".join(names[:2]))


PREPRINT_SERVERS = {
    "biorxiv.org": "bioRxiv",
    "medrxiv.org": "medRxiv",
    "preprints.org": "Preprints.org",
    "papers.ssrn.com": "SSRN",
}


def venue_of(url: str) -> Venue | None:
    """Where a work was published, as far as its link tells; None if unknown."""
    parts = urlsplit(url)
    host = parts.netloc.removeprefix("www.")
    if host in PREPRINT_SERVERS:
        return Venue(PREPRINT_SERVERS[host], "preprint")
    match host:
        case "openaccess.thecvf.com":
            return _cvf_venue(parts.path)
        case "papers.miccai.org":
            return _miccai_venue(parts.path)
        case "spiedigitallibrary.org" if "conference-proceedings" in parts.path:
            return Venue("Proceedings of SPIE", "conference")
        case "nature.com":
            return _nature_venue(parts.path)
    return None


def _cvf_venue(path: str) -> Venue | None:
    match = re.search(r"/content/([A-Z]+)(\d{4})(W?)/", path)
    if not match:
        return None
    conference, year, workshop = match.groups()
    if workshop:
        return Venue(f"{conference} {year} Workshops", "workshop")
    return Venue(f"{conference} {year}", "conference")


def _miccai_venue(path: str) -> Venue | None:
    match = re.search(r"/miccai-(\d{4})/", path)
    if not match:
        return None
    return Venue(f"MICCAI {match[1]}", "conference")


def _nature_venue(path: str) -> Venue | None:
    match = re.search(r"/articles/(s\d{5})-", path)
    if not match or match[1] not in NATURE:
        return None
    return Venue(NATURE[match[1]], "journal")
