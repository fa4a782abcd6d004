"""One work of the literature, validated on construction, and its JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from segscope.errors import ReadError

TAGS = ("task", "modality", "anatomy", "target", "dimension", "base_model", "adaptation", "prompts")
URLS = ("paper", "pdf", "code", "project", "data", "weights")
VENUES = ("", "preprint", "journal", "conference", "workshop")
DATE = re.compile(r"(19|20)\d\d(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?")
ID = re.compile(r"arxiv:\S+|doi:10\.\S+|(sam4mis|awesome):[0-9a-f]{10}")


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
    """Where it was published; `year` is 0 if unknown."""

    name: str
    type: str = ""
    year: int = 0


@dataclass(frozen=True, slots=True)
class Arxiv:
    """The preprint: id without version, latest known version, primary category, all categories."""

    id: str
    version: int = 0
    primary: str = ""
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CodeRepository:
    """A repository; `licence` is empty if it is unknown."""

    host: str
    repo: str
    licence: str = ""


@dataclass(frozen=True, slots=True)
class ListRow:
    """One row of a list that the work stands in; `table` is a table of SAM4MIS, or "awesome"."""

    table: str
    date: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """Source of a field's value, the day, and the confidence of a rule (None: not a guess)."""

    source: str
    at: str
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class PaperRecord:
    """One work. Unknown fields are empty.

    Attributes:
        id: "arxiv:2408.00756", "doi:10...", or the name of a list with ten hex digits; a former id
            stays an alias.
        authors: in order; there are others if `more_authors`.
        date: ISO, as precise as known ("2024", "2024-08" or "2024-08-01"), of the first
            publication; "" unknown.
        venue: of the published version where there is one.
        urls: keys of URLS.
        task ... prompts: terms of the vocabularies.
        metrics: verified by a person: {dataset, metric, value, protocol, source, checked_by}.
        name: short name of the method, where the title does not contain it.
        listed: rows of the lists that were merged into it.
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
    code: CodeRepository | None = None
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
    name: str = ""
    listed: tuple[ListRow, ...] = ()
    aliases: tuple[str, ...] = ()
    provenance: Mapping[str, Origin] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not ID.fullmatch(self.id):
            raise RecordError(
                f"{self.id!r} is not an id; expected arxiv:..., doi:10..., or sam4mis: or awesome: "
                "and ten hex digits"
            )
        if not self.title.strip():
            raise RecordError(f"{self.id} has no title")
        if self.date and not DATE.fullmatch(self.date):
            raise RecordError(
                f"{self.id} has the date {self.date!r}; expected 2024, 2024-08 or 2024-08-01"
            )
        if self.venue and self.venue.type not in VENUES:
            known = ", ".join(VENUES[1:])
            raise RecordError(
                f"{self.id} has a venue of type {self.venue.type!r}; expected one of {known}"
            )
        for key, url in self.urls.items():
            self._check_url(key, url)

    def _check_url(self, key: str, url: str) -> None:
        if key not in URLS:
            known = ", ".join(URLS)
            raise RecordError(f"{self.id} has a link {key!r}; expected one of {known}")
        if not url.startswith(("https://", "http://")):
            raise RecordError(f"{self.id} has the link {key} = {url!r}; expected an http(s) URL")

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
        if not names:
            return ""
        if self.more_authors or len(names) > 3:
            return f"{names[0]} et al."
        if len(names) == 1:
            return names[0]
        return f"{', '.join(names[:-1])} and {names[-1]}"

    def guessed(self, name: str) -> float | None:
        """Confidence of the rule that filled a field; None where a source or a person did."""
        origin = self.provenance.get(name)
        if origin and origin.source == "rule":
            return origin.confidence
        return None


JsonObject = dict[str, Any]  # not from wire.py, which imports numpy: listing papers stays light
Part = Author | Venue | Arxiv | CodeRepository | ListRow

_FIELDS = {entry.name for entry in fields(PaperRecord)}
_INNER: dict[str, type[Part]] = {"venue": Venue, "arxiv": Arxiv, "code": CodeRepository}
_LISTS: dict[str, type[Part]] = {"authors": Author, "listed": ListRow}


def from_json(value: Mapping[str, Any]) -> PaperRecord:
    """A record from its JSON object.

    Raises:
        RecordError: unknown or missing fields, wrong types, ids, dates, links.
    """
    if not isinstance(value, Mapping) or not {"id", "title"} <= value.keys():
        raise RecordError(
            f"not a record: expected an object with id and title, got {str(value)[:80]!r}"
        )
    unknown = value.keys() - _FIELDS
    if unknown:
        raise RecordError(f"{value['id']} has unknown fields: {', '.join(sorted(unknown))}")
    try:
        return PaperRecord(**{key: _parse_field(key, item) for key, item in value.items()})
    except (TypeError, ValueError, AttributeError) as error:
        raise RecordError(f"{value['id']} does not follow the schema: {error}") from error


def _parse_field(name: str, item: Any) -> Any:
    if name in _INNER:
        return _INNER[name](**{key: _to_tuple(value) for key, value in item.items()})
    if name in _LISTS:
        return tuple(_parse_part(_LISTS[name], each) for each in item)
    if name == "provenance":
        return _parse_provenance(item)
    return _to_tuple(item)


def _parse_part(kind: type[Part], item: Any) -> Part:
    if kind is Author and isinstance(item, str):
        family, comma, given = item.partition(", ")
        if not comma and " " in item:
            raise TypeError(f'expected the author as "Family, Given", got {item!r}')
        return Author(family, given)
    return kind(**item)


def _parse_provenance(item: Mapping[str, Iterable[str]]) -> dict[str, Origin]:
    origins = {}
    for key, names in item.items():
        source, at, confidence = (*key.split(" "), "", "")[:3]
        if not names or isinstance(names, str):
            raise TypeError(f"expected a list of fields for the origin {key!r}, got {names!r}")
        unknown = [name for name in names if name.partition(".")[0] not in _FIELDS]
        if unknown:
            raise TypeError(f"the origin {key!r} names the unknown field {unknown[0]!r}")
        origin = Origin(source, at, float(confidence) if confidence else None)
        origins.update(dict.fromkeys(names, origin))
    return origins


def _to_tuple(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return value


def to_json(record: PaperRecord) -> JsonObject:
    """JSON of a record, without empty fields.

    An author is "Family, Given", or an object where the ORCID is known; provenance lists the fields
    of each origin, "source day" or "source day confidence".
    """
    item: JsonObject = {}
    for entry in fields(PaperRecord):
        value = getattr(record, entry.name)
        if value not in ("", None, (), {}, False):
            item[entry.name] = _field_to_json(entry.name, value)
    return item


def _field_to_json(name: str, value: Any) -> Any:
    if name in _INNER:
        return _part_to_json(value)
    if name in _LISTS:
        return list(map(_part_to_json, value))
    if name == "provenance":
        return _provenance_to_json(value)
    if isinstance(value, Mapping):
        return dict(value)
    return _to_list(value)


def _to_list(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value


def _part_to_json(part: Part) -> JsonObject | str:
    if isinstance(part, Author) and not part.orcid and (part.given or " " not in part.family):
        return ", ".join(filter(None, (part.family, part.given)))
    values = {entry.name: getattr(part, entry.name) for entry in fields(part)}
    return {name: _to_list(value) for name, value in values.items() if value not in ("", 0, ())}


def _provenance_to_json(provenance: Mapping[str, Origin]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for name in sorted(provenance):
        names.setdefault(_origin_key(provenance[name]), []).append(name)
    return dict(sorted(names.items()))


def _origin_key(origin: Origin) -> str:
    if origin.confidence is None:
        return f"{origin.source} {origin.at}".strip()
    return f"{origin.source} {origin.at} {origin.confidence}"


def with_origin(record: PaperRecord, origin: Origin, **values: Any) -> PaperRecord:
    """The record with some fields set, and their origin."""
    origins = {**record.provenance, **dict.fromkeys(values, origin)}
    return replace(record, **values, provenance=origins)
