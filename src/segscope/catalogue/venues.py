"""Venues: where a work was published, by its link or by what a list writes, "TMI (2025)."."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from urllib.parse import urlsplit

from segscope.catalogue.record import Venue

NATURE = {
    "s41467": "Nature Communications",
    "s41592": "Nature Methods",
    "s41598": "Scientific Reports",
    "s41746": "npj Digital Medicine",
    "s41551": "Nature Biomedical Engineering",
    "s44172": "Communications Engineering",
}
PREPRINT_SERVERS = {
    "biorxiv.org": "bioRxiv",
    "medrxiv.org": "medRxiv",
    "preprints.org": "Preprints.org",
    "papers.ssrn.com": "SSRN",
}
_LISTED = re.compile(r"(?P<name>.*?)[\s.,*]*\((?P<year>20\d\d)\)")
_UNPUBLISHED = {"arxiv", "researchgate", "available at ssrn", "ssrn", ""}
_JOURNAL_HOSTS = ("sciencedirect.com", "mdpi.com", "nature.com", "onlinelibrary.wiley.com")
_CONFERENCE_HOSTS = ("openaccess.thecvf.com", "papers.miccai.org", "ecva.net", "dspace.mit.edu")


def listed_venue(text: str, url: str) -> Venue | None:
    """The venue of a text such as "Medical Image Analysis (2026)." or "CVPR Workshop (2024).".

    None for preprints, and where the text has no year.
    """
    match = _LISTED.match(text)
    if not match:
        return None
    written = match["name"].strip(" .*")
    if written.lower() in _UNPUBLISHED:
        return venue_of(url)
    year = int(match["year"])
    name, kind = _abbreviations().get(_plain(written), (written, _kind_of(written, url)))
    of_link = venue_of(url)
    if not kind and of_link:
        return replace(of_link, year=year)
    if kind in ("conference", "workshop") and not re.search(r"\d{4}|^Proceedings", name):
        series = name.removesuffix(" Workshops")
        name = f"{series} {year}{name[len(series) :]}"
    return Venue(name, kind, year)


def _kind_of(name: str, url: str) -> str:
    """The type of a venue that is no abbreviation, by its name and the host of its link."""
    words = name.lower()
    host = urlsplit(url).netloc
    if "workshop" in words:
        return "workshop"
    if re.search(r"conference|symposium|proceedings|lecture notes", words):
        return "conference"
    if re.search(r"\bmiccai|^(ieee )?(cvpr|iccv|eccv)", words) or host.endswith(_CONFERENCE_HOSTS):
        return "conference"
    if host.endswith(_JOURNAL_HOSTS) or re.search(r"journal|transactions|\bin medicine\b", words):
        return "journal"
    if "/article/" in url or re.search(r"^(nature|bmc|npj|jmir)\b|fusion$|analysis$", words):
        return "journal"
    return ""


def _plain(name: str) -> str:
    return re.sub(r"\W+", "", name.lower())


@cache
def _abbreviations() -> Mapping[str, tuple[str, str]]:
    """Name and type of a venue by its abbreviation in plain letters."""
    text = (resources.files("segscope.catalogue") / "data" / "venues.toml").read_text("utf-8")
    known = {}
    for kind, names in tomllib.loads(text).items():
        for short, name in names.items():
            known[_plain(short)] = (name, kind)
    return known


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
