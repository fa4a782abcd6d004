"""Answers of arXiv (Atom), Crossref (JSON) and PubMed (JSON and XML) to records, and how they are
asked.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree.ElementTree import Element

from segscope.catalogue import identify, xmlsafe
from segscope.catalogue.record import DATE, Arxiv, Author, Origin, Record, Venue, with_origin
from segscope.errors import ReadError

ATOM = {"a": "http://www.w3.org/2005/Atom", "x": "http://arxiv.org/schemas/atom"}
ARXIV_BATCH = 100
ARXIV_EVERY_S = 3.0
CROSSREF_EVERY_S = 0.5
PUBMED_EVERY_S = 0.4
PUBMED_BATCH = 100
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
CROSSREF_TYPES = {"journal-article": "journal", "proceedings-article": "conference", "book-chapter": "conference",
                  "posted-content": "preprint"}  # fmt: skip
FIELD = '(abs:"segment anything" OR ti:"SAM 2" OR ti:SAM2 OR ti:"SAM 3" OR ti:SAM3 OR abs:"promptable segmentation")'
_WORDS = ("medical", "biomedical", "clinical", "microscopy", "endoscopic", "surgical")
MEDICINE = f"({' OR '.join(f'abs:{word}' for word in _WORDS)})"
PLACES = "(cat:cs.CV OR cat:eess.IV OR cat:cs.AI OR cat:cs.LG OR cat:q-bio.QM)"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the feeds are; a mirror, or a test, may stand elsewhere."""

    upstream: str = "https://raw.githubusercontent.com/YichiZhang98/SAM4MIS/main/README.md"
    arxiv: str = "https://export.arxiv.org/api/query"
    crossref: str = "https://api.crossref.org/works"
    pubmed: str = "https://eutils.ncbi.nlm.nih.gov/entrez/eutils"


@dataclass(frozen=True, slots=True)
class FeedResponse:
    """A record as a feed knows it, and its abstract, which is read for tags and never kept."""

    record: Record
    abstract: str = ""
    withdrawn: bool = field(default=False)


# --- arXiv ---------------------------------------------------------------------------------------


def arxiv_by_id(base: str, ids: Sequence[str]) -> str:
    """The address that answers with these works, at most ARXIV_BATCH."""
    return f"{base}?{urlencode({'id_list': ','.join(ids), 'max_results': len(ids)}, safe=',')}"


def arxiv_newest(base: str, number: int) -> str:
    """The address that answers with the newest works of the field."""
    query = {
        "search_query": f"{FIELD} AND {MEDICINE} AND {PLACES}",
        "sortBy": "submittedDate",
        "sortOrder": "descending",
        "start": 0,
        "max_results": number,
    }
    return f"{base}?{urlencode(query)}"


def arxiv_answers(body: bytes, day: str) -> list[FeedResponse]:
    """Works of an Atom feed.

    Raises:
        XmlError: no Atom feed, or one that says it is an error.
    """
    root = xmlsafe.parse(body, "feed")
    answers = []
    for entry in root.findall("a:entry", ATOM):
        where = xmlsafe.text(entry.find("a:id", ATOM))
        if "/api/errors" in where:
            raise xmlsafe.XmlError(
                f"arXiv says: {xmlsafe.text(entry.find('a:summary', ATOM))[:200]}"
            )
        if identifier := identify.arxiv_id(where):
            answers.append(_arxiv_answer(entry, where, identifier, day))
    return answers


def _arxiv_answer(entry: Element, where: str, identifier: str, day: str) -> FeedResponse:
    version = re.search(r"v(\d+)$", where)
    primary = entry.find("x:primary_category", ATOM)
    terms = [each.get("term", "") for each in entry.findall("a:category", ATOM)]
    kept = tuple(
        term for term in dict.fromkeys(terms) if re.fullmatch(r"[a-z-]+(\.[A-Za-z-]+)?", term)
    )
    arxiv = Arxiv(
        identifier,
        int(version[1]) if version else 0,
        primary.get("term", "") if primary is not None else "",
        kept,
    )
    people = tuple(
        identify.author(xmlsafe.text(each))
        for each in entry.findall("a:author/a:name", ATOM)
        if xmlsafe.text(each)
    )
    published = xmlsafe.text(entry.find("a:published", ATOM))[:10]
    values: dict[str, Any] = {
        "title": xmlsafe.text(entry.find("a:title", ATOM)),
        "authors": people,
        "date": published if DATE.fullmatch(published) else "",
        "arxiv": arxiv,
        "doi": identify.doi_of(xmlsafe.text(entry.find("x:doi", ATOM))),
    }
    record = _made(f"arxiv:{identifier}", values, "arxiv", day)
    comment = xmlsafe.text(entry.find("x:comment", ATOM)).lower()
    return FeedResponse(record, xmlsafe.text(entry.find("a:summary", ATOM)), "withdrawn" in comment)


def _made(identifier: str, values: Mapping[str, Any], source: str, day: str) -> Record:
    given = {name: value for name, value in values.items() if value}
    record = Record(identifier, given.get("title") or "(without title)")
    return with_origin(record, Origin(source, day), **given)


# --- Crossref ------------------------------------------------------------------------------------


def crossref_by_doi(base: str, doi: str) -> str:
    """The address of one work."""
    return f"{base}/{quote(doi, safe='')}"


def crossref_by_title(base: str, record: Record) -> str:
    """The address that answers with the likeliest works of a title."""
    return f"{base}?{urlencode({'query.bibliographic': f'{record.title} {record.first}'.strip(), 'rows': 3})}"


def crossref_answers(body: bytes, day: str) -> list[FeedResponse]:
    """Works of an answer, one or a list.

    Raises:
        ReadError: not Crossref's JSON.
    """
    message = _json(body, "Crossref").get("message")
    if not isinstance(message, dict):
        raise ReadError("Crossref's answer has no message")
    items = message.get("items", [message] if message.get("DOI") else [])
    return [
        answer
        for item in items
        if isinstance(item, dict) and (answer := _crossref_answer(item, day))
    ]


def _crossref_answer(item: Mapping[str, Any], day: str) -> FeedResponse | None:
    doi = str(item.get("DOI", "")).lower()
    title = _words(next(iter(item.get("title") or []), ""))
    if not doi.startswith("10.") or not title:
        return None
    people = tuple(
        Author(
            str(each["family"]),
            str(each.get("given", "")),
            str(each.get("ORCID", "")).rpartition("/")[2],
        )
        for each in item.get("author", [])
        if each.get("family")
    )
    names = item.get("container-title") or []
    kind = CROSSREF_TYPES.get(str(item.get("type")), "")
    values = {
        "authors": people,
        "date": _parts((item.get("issued") or {}).get("date-parts")),
        "venue": Venue(_words(names[0]), kind) if names and kind != "preprint" else None,
        "doi": doi,
        "title": title,
    }
    return FeedResponse(_made(f"doi:{doi}", values, "crossref", day))


def _words(value: Any) -> str:
    """Plain words of a title, in which Crossref keeps tags and entities."""
    return " ".join(html.unescape(re.sub(r"</?\w+[^<>]*>", "", str(value))).split())


def _parts(parts: Any) -> str:
    numbers = [
        number
        for number in (parts[0] if isinstance(parts, list) and parts else [])
        if isinstance(number, int)
    ]
    date = "-".join(
        f"{number:04d}" if at == 0 else f"{number:02d}" for at, number in enumerate(numbers[:3])
    )
    if DATE.fullmatch(date):
        return date
    return ""


# --- PubMed --------------------------------------------------------------------------------------


def pubmed_search(base: str, record: Record) -> str:
    """The address that answers with the ids of a work: by DOI, else by title."""
    words = re.sub(r"[^\w\s-]", " ", record.title)
    if record.doi:
        term = f"{record.doi}[doi]"
    else:
        term = f'"{words}"[Title]'
    query = {"db": "pubmed", "retmode": "json", "retmax": 3, "term": term, "tool": "segscope"}
    return f"{base}/esearch.fcgi?{urlencode(query)}"


def pubmed_fetch(base: str, ids: Iterable[str]) -> str:
    """The address that answers with works of ids, at most PUBMED_BATCH."""
    query = {"db": "pubmed", "retmode": "xml", "id": ",".join(ids), "tool": "segscope"}
    return f"{base}/efetch.fcgi?{urlencode(query, safe=',')}"


def pubmed_ids(body: bytes) -> list[str]:
    """Ids that a search found.

    Raises:
        ReadError: not PubMed's JSON.
    """
    found = _json(body, "PubMed").get("esearchresult")
    if not isinstance(found, dict) or "ERROR" in found:
        raise ReadError(f"PubMed's search failed: {str(found)[:120]}")
    return [str(each) for each in found.get("idlist", []) if str(each).isdecimal()]


def pubmed_answers(body: bytes, day: str) -> list[FeedResponse]:
    """Works of a set of articles; subject headings stand in the abstract, for tags.

    Raises:
        XmlError: not PubMed's XML.
    """
    root = xmlsafe.parse(body, "PubmedArticleSet", named_type=True)
    return [
        answer for each in root.findall("PubmedArticle") if (answer := _pubmed_answer(each, day))
    ]


def _pubmed_answer(article: Element, day: str) -> FeedResponse | None:
    pmid = xmlsafe.text(article.find("MedlineCitation/PMID"))
    title = xmlsafe.text(article.find("MedlineCitation/Article/ArticleTitle")).removesuffix(".")
    if not pmid.isdecimal() or not title:
        return None
    inner = "MedlineCitation/Article/"
    people = tuple(
        Author(family, xmlsafe.text(each.find("ForeName")))
        for each in article.findall(f"{inner}AuthorList/Author")
        if (family := xmlsafe.text(each.find("LastName")))
    )
    ids = {
        each.get("IdType"): xmlsafe.text(each)
        for each in article.findall("PubmedData/ArticleIdList/ArticleId")
    }
    journal = xmlsafe.text(article.find(f"{inner}Journal/Title"))
    doi = ids.get("doi", "").lower()
    values = {
        "pmid": pmid,
        "doi": doi,
        "authors": people,
        "date": _pubmed_date(article.find(f"{inner}Journal/JournalIssue/PubDate")),
        "venue": Venue(journal, "journal") if journal else None,
        "title": title,
    }
    headings = "; ".join(xmlsafe.text(each) for each in article.iter("DescriptorName"))
    abstract = xmlsafe.text(article.find(f"{inner}Abstract"))
    return FeedResponse(
        _made(f"doi:{doi}" if doi else identify.slug(title, ""), values, "pubmed", day),
        f"{headings}. {abstract}",
    )


def _pubmed_date(element: Element | None) -> str:
    if element is None:
        return ""
    year, month, day = (xmlsafe.text(element.find(name)) for name in ("Year", "Month", "Day"))
    if month[:3].lower() in MONTHS:
        number = MONTHS.index(month[:3].lower()) + 1
    elif month.isdecimal():
        number = int(month)
    else:
        number = 0
    date = (
        year
        + (f"-{number:02d}" if number else "")
        + (f"-{int(day):02d}" if number and day.isdecimal() else "")
    )
    if DATE.fullmatch(date):
        return date
    return ""


def _json(body: bytes, whose: str) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        what = "something else"
        if body[:200].lstrip().lower().startswith((b"<!doctype", b"<html")):
            what = "HTML"
        raise ReadError(f"{what} came instead of {whose}'s JSON; try again later") from error
    if not isinstance(found, dict):
        raise ReadError(f"{whose}'s answer is no JSON object")
    return found
