"""Records for other programs: BibTeX, RIS, CSL-JSON."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from segscope._optional import require
from segscope.catalogue.record import PaperRecord

EXTRA = "papers"
_SMALL = {
    *("a", "an", "the", "on", "in", "of", "for", "to", "and", "is", "are", "how", "can"),
    *("towards", "toward", "using"),
}
"""Words of titles that citation keys leave out."""


@dataclass(frozen=True, slots=True)
class EntryType:
    """How the formats name a type of venue: entry and venue field of BibTeX, RIS, CSL."""

    bibtex: str
    bibtex_venue: str
    ris: str
    csl: str


_TYPES = {
    "journal": EntryType("article", "journal", "JOUR", "article-journal"),
    "conference": EntryType("inproceedings", "booktitle", "CONF", "paper-conference"),
    "workshop": EntryType("inproceedings", "booktitle", "CONF", "paper-conference"),
    "preprint": EntryType("misc", "howpublished", "UNPB", "article"),
    "": EntryType("misc", "howpublished", "GEN", "article"),
}


@dataclass(frozen=True, slots=True)
class Citation:
    """A record as it is cited: with its published version, or its preprint.

    Attributes:
        record: the work.
        venue: name of the venue.
        kind: type of the venue, a key of the types above.
        arxiv: id of the preprint, "" without one.
    """

    record: PaperRecord
    venue: str
    kind: str
    arxiv: str

    @classmethod
    def of(cls, record: PaperRecord, preprint: bool) -> Citation:
        """The preprint is cited if asked for, or if there is no other venue."""
        if record.arxiv and (preprint or record.venue is None):
            name = f"arXiv preprint arXiv:{record.arxiv.id}"
            return cls(record, name, "preprint", record.arxiv.id)
        arxiv = ""
        if record.arxiv:
            arxiv = record.arxiv.id
        if record.venue is None:
            return cls(record, "", "", arxiv)
        return cls(record, record.venue.name, record.venue.type, arxiv)

    @property
    def type(self) -> EntryType:
        return _TYPES[self.kind]

    @property
    def is_arxiv(self) -> bool:
        """Whether arXiv is what is cited."""
        return self.kind == "preprint" and bool(self.arxiv)

    @property
    def date(self) -> str:
        """The ISO date of what is cited: that of the first publication, or the year of the venue
        where it appeared in another one.
        """
        venue = self.record.venue
        if self.is_arxiv or venue is None or not venue.year or venue.year == self.record.year:
            return self.record.date
        return str(venue.year)

    @property
    def doi(self) -> str:
        """The DOI of the published version, where that is cited."""
        if self.is_arxiv:
            return ""
        return self.record.doi

    @property
    def authors(self) -> list[str]:
        """ "Family, Given" of each author."""
        people = self.record.authors
        return [", ".join(filter(None, (person.family, person.given))) for person in people]


def keys(records: Sequence[PaperRecord]) -> list[str]:
    """Citation keys, family + year + word of the title, letters and digits only; "b", "c" ... where
    they repeat.
    """
    unique: dict[str, None] = {}
    for record in records:
        stem = _key_stem(record)
        key = stem
        number = 0
        while key in unique:
            number += 1
            key = f"{stem}{_letters(number)}"
        unique[key] = None
    return list(unique)


def _key_stem(record: PaperRecord) -> str:
    words = re.findall(r"[a-z0-9]+", _ascii(record.title).lower())
    word = next((word for word in words if word not in _SMALL), "work")
    family = re.sub(r"[^a-z]", "", _ascii(record.first).lower()) or "anonymous"
    return f"{family}{record.year or ''}{word}"


def _letters(number: int) -> str:
    """ "b" of 1, "c" of 2 ... "z", then "z2", "z3" ..."""
    if number < 26:
        return chr(ord("a") + number)
    return f"z{number - 24}"


_UNDECOMPOSED = str.maketrans(
    {"ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "æ": "ae"}
)


def _ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.translate(_UNDECOMPOSED))
    return plain.encode("ascii", "ignore").decode()


def bibtex(records: Sequence[PaperRecord], *, preprint: bool = False) -> str:
    """BibTeX, with TeX's special characters escaped.

    Args:
        preprint: cite arXiv where the work has a preprint, even if it was published elsewhere.

    Raises:
        MissingExtra: bibtexparser is not installed.
    """
    parser = require("bibtexparser", EXTRA, "write BibTeX")
    model = require("bibtexparser.model", EXTRA, "write BibTeX")
    middlewares = require("bibtexparser.middlewares", EXTRA, "write BibTeX")
    escape = _escaper()
    entries = []
    for key, record in zip(keys(records), records, strict=True):
        citation = Citation.of(record, preprint)
        values = _bibtex_values(citation, escape, preprint)
        fields = [model.Field(field, value) for field, value in values.items() if value]
        entries.append(model.Entry(citation.type.bibtex, key, fields))
    braces = middlewares.AddEnclosingMiddleware(
        reuse_previous_enclosing=False, enclose_integers=True, default_enclosing="{"
    )
    return str(parser.write_string(parser.Library(entries), unparse_stack=[braces]))


def _bibtex_values(
    citation: Citation, escape: Callable[[str], str], preprint: bool
) -> dict[str, str]:
    """Fields of an entry; empty ones are left out later."""
    record = citation.record
    names = list(map(escape, citation.authors))
    if record.more_authors and names:
        names.append("others")
    month = ""
    if citation.date[5:7]:
        month = str(int(citation.date[5:7]))
    values = {
        "author": " and ".join(names),
        "title": _braced(escape(record.title)),
        citation.type.bibtex_venue: escape(citation.venue),
        "year": citation.date[:4],
        "month": month,
        "eprint": "",
        "archiveprefix": "",
        "doi": citation.doi.replace("_", r"\_"),
        "url": _escape_url(record.url),
    }
    if citation.arxiv:
        values |= {"eprint": citation.arxiv, "archiveprefix": "arXiv"}
        if preprint:
            values["url"] = _escape_url(f"https://arxiv.org/abs/{citation.arxiv}")
    return values


def _escaper() -> Callable[[str], str]:
    encoder = require("pylatexenc.latexencode", EXTRA, "write BibTeX").UnicodeToLatexEncoder(
        non_ascii_only=False,
        replacement_latex_protection="braces-all",
        unknown_char_policy="keep",
        unknown_char_warning=False,
    )
    return lambda text: str(encoder.unicode_to_latex(text))


def _escape_url(url: str) -> str:
    return (
        url.replace("\\", "%5C")
        .replace("{", "%7B")
        .replace("}", "%7D")
        .replace("%", r"\%")
        .replace("#", r"\#")
    )


def _braced(title: str) -> str:
    """The title with braces around words that BibTeX styles would put in lower case."""
    return re.sub(r"(?<![\\{\w])(\w*[A-Z0-9]\w*[A-Z]\w*|[A-Z]{2,})(?![\w}])", r"{\1}", title)


def ris(records: Sequence[PaperRecord], *, preprint: bool = False) -> str:
    """RIS, for Zotero, EndNote, Mendeley.

    Raises:
        MissingExtra: rispy is not installed.
    """
    rispy = require("rispy", EXTRA, "write RIS")
    entries = [_ris_entry(Citation.of(record, preprint)) for record in records]

    class Plain(rispy.RisWriter):  # type: ignore[name-defined,misc]
        """Writes no running number before each entry; other programs do not expect it."""

        def set_header(self, count: int) -> str:  # noqa: ARG002
            return ""

    return str(rispy.dumps(entries, implementation=Plain)).lstrip("\n")


def _ris_entry(citation: Citation) -> dict[str, Any]:
    record = citation.record
    date = ""
    if len(citation.date) > 4:
        date = "/".join(citation.date.split("-"))
    venue_field = "secondary_title"
    if citation.kind == "journal":
        venue_field = "journal_name"
    entry = {
        "type_of_reference": citation.type.ris,
        "title": record.title,
        "authors": citation.authors,
        "year": citation.date[:4],
        "date": date,
        venue_field: citation.venue,
        "doi": record.doi,
        "urls": list(filter(None, [record.url])),
        "keywords": [*record.modality, *record.task],
    }
    return _without_empty(entry)


def _without_empty(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def csl(records: Iterable[PaperRecord], *, preprint: bool = False) -> list[dict[str, Any]]:
    """CSL-JSON items, for citation processors."""
    return [_csl_item(Citation.of(record, preprint)) for record in records]


def _csl_item(citation: Citation) -> dict[str, Any]:
    record = citation.record
    people = [{"family": person.family, "given": person.given} for person in record.authors]
    item: dict[str, Any] = {
        "id": record.id,
        "type": citation.type.csl,
        "title": record.title,
        "author": list(map(_without_empty, people)),
        "issued": None,
        "container-title": "",
        "publisher": "",
        "number": "",
        "DOI": citation.doi,
        "PMID": record.pmid,
        "URL": record.url,
    }
    if citation.date:
        item["issued"] = {"date-parts": [list(map(int, citation.date.split("-")))]}
    if citation.kind not in ("preprint", ""):
        item["container-title"] = citation.venue
    if citation.is_arxiv:
        item |= {"publisher": "arXiv", "number": f"arXiv:{citation.arxiv}"}
    return _without_empty(item)


def csl_text(records: Iterable[PaperRecord], *, preprint: bool = False) -> str:
    """CSL-JSON as text."""
    return json.dumps(csl(records, preprint=preprint), indent=1, ensure_ascii=False) + "\n"
