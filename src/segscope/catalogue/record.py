"""One work of the literature, checked when made, and its JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from segscope.errors import ReadError

TAGS = ("task", "modality", "anatomy", "target", "dimension", "base_model", "adaptation", "prompts")
URLS = ("paper", "pdf", "code", "project", "data", "weights")
VENUES = ("", "preprint", "journal", "conference", "workshop")
SOURCES = ("sam4mis", "arxiv", "crossref", "pubmed", "manual", "rule")
DATE = re.compile(r"(19|20)\d\d(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?")
ID = re.compile(r"arxiv:\S+|doi:10\.\S+|sam4mis:[0-9a-f]{10}")


class RecordError(ReadError):
    """A record that does not follow the schema."""


@dataclass(frozen=True, slots=True)
class Author:
    """A person; `given` may be initials."""

    family: str
    given: str = ""
    orcid: str = ""

    def __str__(self) -> str:
        return f"{self.given} {self.family}".strip()


@dataclass(frozen=True, slots=True)
class Venue:
    """Where it was published."""

    name: str
    type: str = ""


@dataclass(frozen=True, slots=True)
class Arxiv:
    """The preprint: id without version, the version seen, primary category, all categories."""

    id: str
    version: int = 0
    primary: str = ""
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Code:
    """A repository; `licence` is empty while nobody looked."""

    host: str
    repo: str
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """One row of the list that the work stands in."""

    table: str
    date: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a field's value came from, on which day, and how sure a rule is (None: not a guess)."""

    source: str
    at: str
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One work. What is not known is empty.

    Attributes:
        id: "arxiv:2408.00756", "doi:10...", or "sam4mis:" with ten hex digits; it never changes.
        authors: in order; the list of others is cut where `more_authors`.
        date: ISO, as precise as known ("2024", "2024-08" or "2024-08-01"), of the first
            publication; "" unknown.
        venue: of the published version where there is one.
        urls: keys of URLS.
        task ... prompts: terms of the vocabularies.
        metrics: checked by a person: {dataset, metric, value, protocol, source, checked_by}.
        listed: rows of the list that were merged into it.
        aliases: other ids and former titles.
        provenance: origin of each field; "urls.code" for a single link.
    """

    id: str
    title: str
    authors: tuple[Author, ...] = ()
    more_authors: bool = False
    date: str = ""
    venue: Venue | None = None
    doi: str = ""
    arxiv: Arxiv | None = None
    pmid: str = ""
    urls: Mapping[str, str] = field(default_factory=dict)
    code: Code | None = None
    task: tuple[str, ...] = ()
    modality: tuple[str, ...] = ()
    anatomy: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    dimension: tuple[str, ...] = ()
    base_model: tuple[str, ...] = ()
    adaptation: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    metrics: tuple[Mapping[str, Any], ...] = ()
    licence_note: str = ""
    listed: tuple[Listing, ...] = ()
    aliases: tuple[str, ...] = ()
    provenance: Mapping[str, Origin] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not ID.fullmatch(self.id):
            raise RecordError(
                f"the id {self.id!r} is none; wanted arxiv:..., doi:10... or sam4mis: and ten hex digits"
            )
        if not self.title.strip():
            raise RecordError(f"{self.id} has no title")
        if self.date and not DATE.fullmatch(self.date):
            raise RecordError(
                f"{self.id} has the date {self.date!r}; wanted 2024, 2024-08 or 2024-08-01"
            )
        if self.venue and self.venue.type not in VENUES:
            raise RecordError(
                f"{self.id} has a venue of type {self.venue.type!r}; known: {', '.join(VENUES[1:])}"
            )
        for key, url in self.urls.items():
            if key not in URLS or not url.startswith(("https://", "http://")):
                raise RecordError(
                    f"{self.id} has the link {key} = {url!r}; wanted one of {', '.join(URLS)}, http(s)"
                )

    @property
    def year(self) -> int | None:
        if self.date:
            return int(self.date[:4])
        return None

    @property
    def has_code(self) -> bool:
        """A link to code, or to the project page that the list calls code."""
        return "code" in self.urls or "project" in self.urls

    @property
    def url(self) -> str:
        """Where to read it."""
        if "paper" in self.urls:
            return self.urls["paper"]
        if self.doi:
            return f"https://doi.org/{self.doi}"
        if self.arxiv:
            return f"https://arxiv.org/abs/{self.arxiv.id}"
        return ""

    @property
    def first(self) -> str:
        """Family name of the first author, "" unknown."""
        if self.authors:
            return self.authors[0].family
        return ""

    @property
    def byline(self) -> str:
        """Authors in a few words."""
        names = [author.family for author in self.authors]
        if self.more_authors or len(names) > 3:
            if names:
                return f"{names[0]} et al."
            return ""
        return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))

    def guessed(self, name: str) -> float | None:
        """How sure the rule is that filled a field; None where a source or a person said it."""
        origin = self.provenance.get(name)
        if origin and origin.source == "rule":
            return origin.confidence
        return None


_FIELDS = {entry.name for entry in fields(Record)}
_INNER: dict[str, Any] = {"venue": Venue, "arxiv": Arxiv, "code": Code}
_LISTS: dict[str, Any] = {"authors": Author, "listed": Listing}


def from_json(value: Mapping[str, Any]) -> Record:
    """A record of its JSON object.

    Raises:
        RecordError: unknown or missing fields, wrong types, ids, dates, links.
    """
    if not isinstance(value, Mapping) or not {"id", "title"} <= value.keys():
        raise RecordError(
            f"not a record: wanted an object with id and title, got {str(value)[:80]!r}"
        )
    if unknown := value.keys() - _FIELDS:
        raise RecordError(
            f"{value['id']} has fields that no record has: {', '.join(sorted(unknown))}"
        )
    given: dict[str, Any] = {}
    try:
        for key, item in value.items():
            if key in _INNER:
                given[key] = _INNER[key](**_frozen(item))
            elif key in _LISTS:
                given[key] = tuple(_LISTS[key](**each) for each in item)
            elif key == "provenance":
                given[key] = {name: Origin(*origin) for name, origin in item.items()}
            else:
                given[key] = tuple(item) if isinstance(item, list) else item
        return Record(**given)
    except (TypeError, AttributeError) as error:
        raise RecordError(f"{value['id']} does not follow the schema: {error}") from error


def to_json(record: Record) -> dict[str, Any]:
    """JSON of a record: empty fields left out, provenance as [source, day] or [source, day,
    confidence].
    """
    found: dict[str, Any] = {}
    for entry in fields(Record):
        value = getattr(record, entry.name)
        if value in ("", None, (), {}, False):
            continue
        if entry.name in _INNER:
            value = _plain(value)
        elif entry.name in _LISTS:
            value = [_plain(each) for each in value]
        elif entry.name == "provenance":
            value = {name: _origin(value[name]) for name in sorted(value)}
        elif isinstance(value, tuple):
            value = list(value)
        found[entry.name] = dict(value) if isinstance(value, Mapping) else value
    return found


def with_origin(record: Record, origin: Origin, **values: Any) -> Record:
    """The record with some fields set, and where they came from."""
    return replace(
        record, **values, provenance={**record.provenance, **dict.fromkeys(values, origin)}
    )


def _frozen(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in item.items()}


def _plain(thing: Any) -> dict[str, Any]:
    pairs = ((entry.name, getattr(thing, entry.name)) for entry in fields(thing))
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in pairs
        if value not in ("", 0, ())
    }


def _origin(origin: Origin) -> list[Any]:
    return [origin.source, origin.at] + ([] if origin.confidence is None else [origin.confidence])
