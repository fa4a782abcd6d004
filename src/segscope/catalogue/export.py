"""Records for other programs: BibTeX, RIS, CSL-JSON."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from segscope._optional import require
from segscope.catalogue.record import Record

EXTRA = "papers"
_SMALL = {
    "a",
    "an",
    "the",
    "on",
    "in",
    "of",
    "for",
    "to",
    "and",
    "is",
    "are",
    "how",
    "can",
    "towards",
    "toward",
    "using",
}
_TYPES = {  # of venue: BibTeX entry and the field of its name, RIS, CSL
    "journal": ("article", "journal", "JOUR", "article-journal"),
    "conference": ("inproceedings", "booktitle", "CONF", "paper-conference"),
    "workshop": ("inproceedings", "booktitle", "CONF", "paper-conference"),
    "preprint": ("misc", "howpublished", "UNPB", "article"),
    "": ("misc", "howpublished", "GEN", "article"),
}


def keys(records: Sequence[Record]) -> list[str]:
    """Citation keys, family + year + word of the title, letters and digits only; "b", "c" ... where
    they repeat.
    """
    found: list[str] = []
    taken: set[str] = set()
    for record in records:
        words = [
            word
            for word in re.findall(r"[a-z0-9]+", _ascii(record.title).lower())
            if word not in _SMALL
        ]
        family = re.sub(r"[^a-z]", "", _ascii(record.first).lower()) or "anonymous"
        stem = f"{family}{record.year or ''}{words[0] if words else 'work'}"
        key = next(
            key
            for key in (stem, *(f"{stem}{_letters(at)}" for at in range(1, len(records) + 1)))
            if key not in taken
        )
        taken.add(key)
        found.append(key)
    return found


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


def _venue(record: Record, preprint: bool) -> tuple[str, str]:
    """Name and type of where a work is cited from."""
    if record.arxiv and (preprint or record.venue is None):
        return f"arXiv preprint arXiv:{record.arxiv.id}", "preprint"
    if record.venue:
        return (record.venue.name, record.venue.type)
    return ("", "")


def bibtex(records: Sequence[Record], *, preprint: bool = False) -> str:
    """BibTeX, with TeX's special characters escaped.

    Args:
        preprint: cite arXiv where a work is there, also if it was published elsewhere.

    Raises:
        MissingExtra: bibtexparser is not installed.
    """
    parser = require("bibtexparser", EXTRA, "write BibTeX")
    model = require("bibtexparser.model", EXTRA, "write BibTeX")
    escape = _escaper()
    entries = []
    for key, record in zip(keys(records), records, strict=True):
        venue, kind = _venue(record, preprint)
        entry, name, *_ = _TYPES[kind]
        names = [
            escape(", ".join(filter(None, (person.family, person.given))))
            for person in record.authors
        ]
        values = {
            "author": " and ".join(
                [*names, *(["others"] if record.more_authors and names else [])]
            ),
            "title": _braced(escape(record.title)),
            name: escape(venue),
            "year": str(record.year or ""),
            "month": str(int(record.date[5:7])) if record.date[5:7] else "",
            "eprint": record.arxiv.id if record.arxiv else "",
            "archiveprefix": "arXiv" if record.arxiv else "",
            "doi": "" if kind == "preprint" and record.arxiv else record.doi.replace("_", r"\_"),
            "url": _url(
                f"https://arxiv.org/abs/{record.arxiv.id}"
                if preprint and record.arxiv
                else record.url
            ),
        }
        fields = [model.Field(field, value) for field, value in values.items() if value]
        entries.append(model.Entry(entry, key, fields))
    library = parser.Library(entries)
    unparse = [require("bibtexparser.middlewares", EXTRA, "write BibTeX").AddEnclosingMiddleware(
        reuse_previous_enclosing=False, enclose_integers=True, default_enclosing="{")]  # fmt: skip
    return str(parser.write_string(library, unparse_stack=unparse))


def _escaper() -> Callable[[str], str]:
    encoder = require("pylatexenc.latexencode", EXTRA, "write BibTeX").UnicodeToLatexEncoder(
        non_ascii_only=False,
        replacement_latex_protection="braces-all",
        unknown_char_policy="keep",
        unknown_char_warning=False,
    )
    return lambda text: str(encoder.unicode_to_latex(text))


def _url(url: str) -> str:
    return (
        url.replace("\\", "%5C")
        .replace("{", "%7B")
        .replace("}", "%7D")
        .replace("%", r"\%")
        .replace("#", r"\#")
    )


def _braced(title: str) -> str:
    """The title with words kept that BibTeX styles would put in lower case."""
    return re.sub(r"(?<![\\{\w])(\w*[A-Z0-9]\w*[A-Z]\w*|[A-Z]{2,})(?![\w}])", r"{\1}", title)


def ris(records: Sequence[Record], *, preprint: bool = False) -> str:
    """RIS, for Zotero, EndNote, Mendeley.

    Raises:
        MissingExtra: rispy is not installed.
    """
    rispy = require("rispy", EXTRA, "write RIS")
    entries: list[dict[str, Any]] = []
    for record in records:
        venue, kind = _venue(record, preprint)
        entry = {
            "type_of_reference": _TYPES[kind][2],
            "title": record.title,
            "authors": [
                ", ".join(filter(None, (person.family, person.given))) for person in record.authors
            ],
            "year": str(record.year or ""),
            "date": "/".join(record.date.split("-")) if len(record.date) > 4 else "",
            "journal_name" if kind == "journal" else "secondary_title": venue,
            "doi": record.doi,
            "urls": [record.url] if record.url else [],
            "keywords": [*record.modality, *record.task],
        }
        entries.append({name: value for name, value in entry.items() if value})

    class Plain(rispy.RisWriter):  # type: ignore[name-defined,misc]
        """Without the running number before each entry, which other programs do not expect."""

        def set_header(self, count: int) -> str:  # noqa: ARG002
            return ""

    return str(rispy.dumps(entries, implementation=Plain)).lstrip("\n")


def csl(records: Iterable[Record], *, preprint: bool = False) -> list[dict[str, Any]]:
    """CSL-JSON items, for citation processors."""
    items = []
    for record in records:
        venue, kind = _venue(record, preprint)
        if record.date:
            parts = [int(part) for part in record.date.split("-")]
        else:
            parts = []
        people = [{"family": person.family, "given": person.given} for person in record.authors]
        item = {
            "id": record.id,
            "type": _TYPES[kind][3],
            "title": record.title,
            "author": [{name: part for name, part in person.items() if part} for person in people],
            "issued": {"date-parts": [parts]} if parts else None,
            "container-title": venue if kind not in ("preprint", "") else "",
            "publisher": "arXiv" if kind == "preprint" and record.arxiv else "",
            "number": f"arXiv:{record.arxiv.id}" if kind == "preprint" and record.arxiv else "",
            "DOI": "" if kind == "preprint" and record.arxiv else record.doi,
            "PMID": record.pmid,
            "URL": record.url,
        }
        items.append({name: value for name, value in item.items() if value})
    return items


def csl_text(records: Iterable[Record], *, preprint: bool = False) -> str:
    """CSL-JSON as text."""
    return json.dumps(csl(records, preprint=preprint), indent=1, ensure_ascii=False) + "\n"
