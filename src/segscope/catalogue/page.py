"""One page of HTML with all records: searchable, works offline from a file, loads nothing from
anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources

from segscope.catalogue.export import bibtex
from segscope.catalogue.record import TAGS, JsonObject, PaperRecord
from segscope.catalogue.search import ENOUGH, FEW
from segscope.catalogue.trends import family
from segscope.catalogue.vocabulary import vocabulary
from segscope.catalogue.words import (
    INSIDE,
    STOP_WORDS,
    SYNONYM,
    VERSION,
    WEIGHTS,
    Searchable,
    synonyms,
)
from segscope.errors import MissingExtra

FACETS = ("task", "modality", "dimension", "base_model", "adaptation")
KNOWN_AS = {
    "none": "no training",
    "none-auto": "no prompt",
    "US": "ultrasound",
    "MR": "MRI",
    "multi": "several",
}


def render(
    records: Sequence[PaperRecord], runs: Mapping[str, Sequence[tuple[str, bool]]], subtitle: str
) -> str:
    """The page.

    Args:
        records: in the order of the page.
        runs: commands by record id, and whether each can be run already.
        subtitle: source and date of the records.
    """
    template = (resources.files("segscope.catalogue") / "templates" / "page.html").read_text(
        "utf-8"
    )
    entries = []
    for record, citation in zip(records, _citations(records), strict=True):
        entries.append(_entry(record, runs.get(record.id, ()), citation))
    data = {
        "records": entries,
        "facets": {facet: [entry.name for entry in vocabulary()[facet]] for facet in FACETS},
        "names": KNOWN_AS,
        "search": {
            "enough": ENOUGH,
            "few": FEW,
            "weights": WEIGHTS,
            "inside": INSIDE,
            "synonym": SYNONYM,
            "version": VERSION.pattern,
            "stop": sorted(STOP_WORDS),
            "synonyms": synonyms(),
        },
    }
    # "<" as an escape, so that no title can end the script element
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    page = template.replace("{{subtitle}}", html.escape(subtitle))
    policy = (
        f"default-src 'none'; script-src {_hash_of(page, 'script')}; "
        f"style-src {_hash_of(page, 'style')}; base-uri 'none'; form-action 'none'"
    )
    return page.replace("{{policy}}", policy).replace("{{data}}", text)


def _hash_of(page: str, element: str) -> str:
    """Source of the content security policy that allows only this script, or style sheet."""
    match = re.search(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
    content = ""
    if match:
        content = match[1]
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _citations(records: Sequence[PaperRecord]) -> list[str]:
    """BibTeX of each record; empty texts if the extra for it is not installed."""
    try:
        text = bibtex(records)
    except MissingExtra:
        return [""] * len(records)
    return [f"@{entry.strip()}" for entry in re.split(r"^@", text, flags=re.MULTILINE)[1:]]


def _entry(record: PaperRecord, runs: Sequence[tuple[str, bool]], citation: str) -> JsonObject:
    guessed = [tag for tag in TAGS if record.guessed(tag) is not None]
    names = ", ".join(map(str, record.authors[:8]))
    others = ""
    if record.more_authors or len(record.authors) > 8:
        others = " et al."
    where = ""
    if record.venue:
        where = record.venue.name
    elif record.arxiv:
        where = f"arXiv:{record.arxiv.id}"
    searchable = Searchable.of(record)
    entry = {
        "id": record.id,
        "title": record.title,
        "by": names + others,
        "date": record.date,
        "where": where,
        "url": record.url,
        "code": record.urls.get("code", ""),
        "project": record.urls.get("project", ""),
        "data": record.urls.get("data", ""),
        "family": family(record),
        "tags": {tag: list(getattr(record, tag)) for tag in TAGS if getattr(record, tag)},
        "guessed": guessed,
        "runs": [[command, ready] for command, ready in runs],
        "bib": citation,
        "find": [searchable.title, searchable.tags, searchable.other],
    }
    return {name: value for name, value in entry.items() if value}
