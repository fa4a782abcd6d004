"""Identifiers, titles and links of the sources, normalised."""

from __future__ import annotations

import difflib
import hashlib
import re
import unicodedata
from functools import lru_cache
from urllib.parse import urlsplit, urlunsplit

from segscope.catalogue.record import CodeRepository

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


def months_between(earlier: str, later: str) -> int:
    """Months from one ISO date to another, negative if the second is earlier; a date without a
    month counts as January.
    """
    return _month_number(later) - _month_number(earlier)


def _month_number(date: str) -> int:
    return int(date[:4]) * 12 + int(date[5:7] or 1)


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
            return doi.format(*map(str.lower, (match[0], *match.groups())))
    return ""


@lru_cache(maxsize=16384)
def fold(title: str) -> str:
    """A title for comparison: NFKC, lower case, letters and digits only."""
    text = unicodedata.normalize("NFKC", title).lower()
    return "".join(letter for letter in text if letter.isalnum())


def tidy(title: str) -> str:
    """A title with single spaces: one behind a colon, none before it, and one before brackets."""
    text = re.sub(r"\s+", " ", title).strip().removesuffix(".")
    text = re.sub(r"\s+:", ":", text)
    text = re.sub(r":(?=[A-Za-z])", ": ", text)
    return re.sub(r"(?<=[a-z])\((?=[A-Z])", " (", text)


def main_title(title: str) -> str:
    """The folded title without the name of a method before its first colon; the whole title if
    little would remain.
    """
    name, colon, rest = title.partition(":")
    if colon and len(name.split()) <= 3 and len(fold(rest)) >= 25:
        return fold(rest)
    return fold(title)


def words(title: str) -> set[str]:
    """The words of a title that are longer than two letters, in lower case."""
    return set(re.findall(r"\w{3,}", title.lower())) - {"and", "for", "the", "via", "with"}


@lru_cache(maxsize=65536)
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


def slug(title: str, first_author: str, source: str = "sam4mis") -> str:
    """A stable id for works that have no identifier of their own."""
    text = f"{fold(title)}|{fold(first_author)}"
    return f"{source}:{hashlib.sha256(text.encode()).hexdigest()[:10]}"


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
    names = list(filter(None, parts.path.split("/")))
    if parts.netloc not in CODE_HOSTS or len(names) < 2:
        return None
    return CodeRepository(parts.netloc, "/".join(names[:2]))
