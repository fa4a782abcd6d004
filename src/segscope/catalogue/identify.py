"""Identifiers, titles, names and links as the sources write them, in one form."""

from __future__ import annotations

import difflib
import hashlib
import re
import unicodedata
from functools import lru_cache
from urllib.parse import urlsplit, urlunsplit

from segscope.catalogue.record import Author, Code, Venue

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
    """The arXiv id, without version, that a link or a bare id carries; "" none."""
    if "arxiv" not in text.lower() and not _ARXIV.fullmatch(text.strip()):
        return ""
    found = _ARXIV.search(text)
    if found:
        return found[1]
    return ""


def arxiv_month(identifier: str) -> str:
    """ "2024-08" of "2408.00756"."""
    return f"20{identifier[:2]}-{identifier[2:4]}"


def doi_of(url: str) -> str:
    """The DOI that a link carries in its path, lower case; "" where it needs a resolver."""
    found = _DOI.search(url)
    if found:
        return _DOI_TAIL.sub("", found[0]).lower()
    parts = urlsplit(url)
    if parts.netloc.endswith("nature.com") and (
        name := re.search(r"/articles/(s\d{5}-[\w-]+)", parts.path)
    ):
        return f"10.1038/{name[1].lower()}"
    if parts.netloc.endswith(("biorxiv.org", "medrxiv.org")) and (
        name := re.search(r"\d{4}\.\d\d\.\d\d\.\d+", url)
    ):
        return f"10.1101/{name[0]}"
    if parts.netloc.endswith("preprints.org") and (
        name := re.search(r"/manuscript/(\d+\.\d+)/v(\d+)", url)
    ):
        return f"10.20944/preprints{name[1]}.v{name[2]}"
    return ""


@lru_cache(maxsize=16384)
def fold(title: str) -> str:
    """A title as it is compared: NFKC, lower case, letters and digits only."""
    return "".join(
        letter for letter in unicodedata.normalize("NFKC", title).lower() if letter.isalnum()
    )


def main_title(title: str) -> str:
    """The folded title without the name of a method before its first colon; the whole where little
    would remain.
    """
    name, colon, rest = title.partition(":")
    if colon and len(name.split()) <= 3 and len(fold(rest)) >= 25:
        return fold(rest)
    return fold(title)


def alike(one: str, other: str) -> float:
    """Likeness of two titles, 0 to 1."""
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
    return (
        f"sam4mis:{hashlib.sha256(f'{fold(title)}|{fold(first_author)}'.encode()).hexdigest()[:10]}"
    )


def authors(cell: str) -> tuple[tuple[Author, ...], bool]:
    """People of a cell such as "DL. Ferreira and R. Arnaout" or "C. Zhai et al.", and whether
    others are left out.
    """
    text = " ".join(cell.split())
    names = re.sub(r"\bet\.? al\.?", "", text).strip(" ,")
    people = tuple(author(name) for name in re.split(r"\s+and\s+|\s*,\s*", names) if name)
    return people, names != text.strip(" ,")


def author(name: str) -> Author:
    """One person, "J. Ma" or "Jun Ma" or "Ma, Jun"; joined initials ("DMH.") are taken apart."""
    if "," in name:
        family, _, given = (part.strip() for part in name.partition(","))
        return Author(family, given)
    words = name.split()
    names = [
        " ".join(f"{letter}." for letter in word[:-1]) if _initials(word) else word
        for word in words[:-1]
    ]
    return Author(words[-1], " ".join(names))


def _initials(word: str) -> bool:
    return word.endswith(".") and word[:-1].isupper() and word[:-1].isalpha() and len(word) <= 5


def same_person(one: Author | None, other: Author | None) -> bool:
    """Whether two authors may be one: equal family names, and first names that begin alike where
    both are known.
    """
    if one is None or other is None:
        return one is other
    if fold(_ascii(one.family)) != fold(_ascii(other.family)):
        return False
    return (
        not one.given
        or not other.given
        or _ascii(one.given)[0].lower() == _ascii(other.given)[0].lower()
    )


def _ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in plain if not unicodedata.combining(letter)) or text


def link(url: str) -> str:
    """A link with a scheme, without tracking, fragments, `.git` and trailing slash; "" when it is
    none.
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
    query = "&".join(item for item in parts.query.split("&") if item and not _TRACKING.match(item))
    return urlunsplit(
        (parts.scheme, host, parts.path.removesuffix("/").removesuffix(".git"), query, "")
    )


def paper_link(url: str) -> str:
    """A link to a work; arXiv's in the form that does not change with versions."""
    identifier = arxiv_id(url)
    if identifier:
        return f"https://arxiv.org/abs/{identifier}"
    return link(url)


def repository(url: str) -> Code | None:
    """Host and name of a code link; None for project pages."""
    parts = urlsplit(link(url))
    names = [name for name in parts.path.split("/") if name]
    if parts.netloc not in CODE_HOSTS or len(names) < 2:
        return None
    return Code(parts.netloc, "/".join(names[:2]))


def venue_of(url: str) -> Venue | None:
    """Where a work appeared, where its link says so; None unknown."""
    host = urlsplit(url).netloc.removeprefix("www.")
    path = urlsplit(url).path
    preprints = {"biorxiv.org": "bioRxiv", "medrxiv.org": "medRxiv", "preprints.org": "Preprints.org",
                 "papers.ssrn.com": "SSRN"}  # fmt: skip
    if host in preprints:
        return Venue(preprints[host], "preprint")
    if host == "openaccess.thecvf.com" and (
        found := re.search(r"/content/([A-Z]+)(\d{4})(W?)/", path)
    ):
        name = f"{found[1]} {found[2]}"
        if found[3]:
            return Venue(f"{name} Workshops", "workshop")
        return Venue(name, "conference")
    if host == "papers.miccai.org" and (found := re.search(r"/miccai-(\d{4})/", path)):
        return Venue(f"MICCAI {found[1]}", "conference")
    if host == "spiedigitallibrary.org" and "conference-proceedings" in path:
        return Venue("Proceedings of SPIE", "conference")
    if (
        host == "nature.com"
        and (found := re.search(r"/articles/(s\d{5})-", path))
        and found[1] in NATURE
    ):
        return Venue(NATURE[found[1]], "journal")
    return None
