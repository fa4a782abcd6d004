"""One page of HTML with all records: searchable, works from a file without a network, loads nothing
from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from segscope.catalogue.export import bibtex
from segscope.catalogue.record import TAGS, Record
from segscope.catalogue.search import haystack
from segscope.catalogue.trends import family
from segscope.catalogue.vocabulary import vocabulary
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
    records: Sequence[Record], runs: Mapping[str, Sequence[tuple[str, bool]]], subtitle: str
) -> str:
    """The page.

    Args:
        records: in the order in which they are shown.
        runs: commands by record id, and whether they are there yet.
        subtitle: where the records come from, and from when they are.
    """
    template = (resources.files("segscope.catalogue") / "templates" / "page.html").read_text(
        "utf-8"
    )
    cited = _cited(records)
    data = {
        "records": [
            _entry(record, runs.get(record.id, ()), text)
            for record, text in zip(records, cited, strict=True)
        ],
        "facets": {facet: [entry.name for entry in vocabulary()[facet]] for facet in FACETS},
        "names": KNOWN_AS,
    }
    # "<" as an escape, so that no title can end the script element
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    page = template.replace("{{subtitle}}", html.escape(subtitle))
    policy = f"default-src 'none'; script-src {_hashed(page, 'script')}; style-src {_hashed(page, 'style')}; "
    return page.replace("{{policy}}", f"{policy}base-uri 'none'; form-action 'none'").replace(
        "{{data}}", text
    )


def _hashed(page: str, element: str) -> str:
    """What the content security policy says of the one script, or style sheet, that may run."""
    found = re.search(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
    content = ""
    if found:
        content = found[1]
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _cited(records: Sequence[Record]) -> list[str]:
    """BibTeX of each record; empty texts where the extra for it is not installed."""
    try:
        text = bibtex(records)
    except MissingExtra:
        return [""] * len(records)
    return [f"@{entry.strip()}" for entry in re.split(r"^@", text, flags=re.MULTILINE)[1:]]


def _entry(record: Record, runs: Sequence[tuple[str, bool]], cited: str) -> dict[str, Any]:
    guessed = [tag for tag in TAGS if record.guessed(tag) is not None]
    names = ", ".join(str(author) for author in record.authors[:8])
    others = ""
    if record.more_authors or len(record.authors) > 8:
        others = " et al."
    if record.venue:
        where = record.venue.name
    elif record.arxiv:
        where = f"arXiv:{record.arxiv.id}"
    else:
        where = ""
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
        "bib": cited,
        "text": haystack(record),
    }
    return {name: value for name, value in entry.items() if value}
