"""How `segscope papers` prints records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from segscope.cli import console

if TYPE_CHECKING:
    from collections.abc import Mapping

    from segscope.catalogue.record import PaperRecord

SOURCES = {
    "awesome": "the list Awesome-Segment-Anything",
    "sam4mis": "the list SAM4MIS",
    "rule": "rules",
}


def print_record(record: PaperRecord) -> None:
    """A record in two lines."""
    date = record.date or "?"
    title = console.single_line(record.title)
    tags = ", ".join((*record.modality, *record.dimension))
    if record.has_code:
        tags = "; ".join(filter(None, (tags, "code")))
    console.print_line(f"{date:<10} {record.byline:<22.22} {title}")
    console.print_line(f"{'':<10} {record.id:<22} {tags}".rstrip())


def print_facts(record: PaperRecord) -> None:
    """All that is known of a record, one fact per line."""
    console.print_line(console.single_line(record.title))
    for name, value in _facts(record):
        console.print_line(f"  {name:<11} {console.single_line(value)}")


def record_to_json(record: PaperRecord) -> Mapping[str, object]:
    """A record as JSON."""
    from segscope.catalogue.record import to_json

    return to_json(record)


def _facts(record: PaperRecord) -> list[tuple[str, str]]:
    from segscope.catalogue.record import TAGS

    facts = [
        ("authors", _authors(record)),
        ("name", record.name),
        ("date", record.date),
        ("venue", record.venue.name if record.venue else ""),
        ("id", record.id),
        ("arXiv", record.arxiv.id if record.arxiv else ""),
        ("DOI", record.doi),
        ("PubMed", record.pmid),
        ("licence", record.code.licence if record.code else ""),
    ]
    facts.extend(record.urls.items())
    facts.extend((tag.replace("_", " "), _tag(record, tag)) for tag in TAGS)
    facts.append(("sources", _sources(record)))
    return [(name, value) for name, value in facts if value]


def _authors(record: PaperRecord) -> str:
    names = ", ".join(map(str, record.authors))
    if record.more_authors:
        names += " and others"
    return names


def _tag(record: PaperRecord, tag: str) -> str:
    terms = ", ".join(getattr(record, tag))
    confidence = record.guessed(tag)
    if confidence is None:
        return terms
    return f"{terms} (guessed, {confidence:.0%} sure)"


def _sources(record: PaperRecord) -> str:
    """Each source, and the fields that it gave."""
    fields: dict[str, list[str]] = {}
    for name, origin in record.provenance.items():
        source = SOURCES.get(origin.source, origin.source)
        fields.setdefault(source, []).append(name.replace("_", " ").removeprefix("urls."))
    parts = [f"{source}: {', '.join(sorted(set(names)))}" for source, names in fields.items()]
    return "; ".join(sorted(parts))
