"""arXiv (Atom), Crossref (JSON) and PubMed (JSON and XML): addresses of queries, and records from
their responses.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree.ElementTree import Element

from segscope.catalogue import identify, people, xmlsafe
from segscope.catalogue.record import DATE, Arxiv, Author, Origin, PaperRecord, Venue, with_origin
from segscope.errors import ReadError

_CATEGORY = re.compile(r"[a-z-]+(\.[A-Za-z-]+)?")
ATOM = {"a": "http://www.w3.org/2005/Atom", "x": "http://arxiv.org/schemas/atom"}
ARXIV_BATCH = 100
ARXIV_EVERY_S = 3.0
CROSSREF_EVERY_S = 0.5
PUBMED_EVERY_S = 0.4
PUBMED_BATCH = 100
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
CROSSREF_TYPES = {
    "journal-article": "journal",
    "proceedings-article": "conference",
    "book-chapter": "conference",
    "posted-content": "preprint",
}
FIELD = (
    '(abs:"segment anything" OR ti:"SAM 2" OR ti:SAM2 OR ti:"SAM 3" OR ti:SAM3 '
    'OR abs:"promptable segmentation")'
)
_WORDS = ("medical", "biomedical", "clinical", "microscopy", "endoscopic", "surgical")
MEDICINE = f"({' OR '.join(f'abs:{word}' for word in _WORDS)})"
PLACES = "(cat:cs.CV OR cat:eess.IV OR cat:cs.AI OR cat:cs.LG OR cat:q-bio.QM)"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses of the feeds; a mirror or a test may use others."""

    sam4mis: str = "https://raw.githubusercontent.com/YichiZhang98/SAM4MIS/main/README.md"
    awesome: str = (
        "https://raw.githubusercontent.com/liliu-avril/Awesome-Segment-Anything/main/README.md"
    )
    arxiv: str = "https://export.arxiv.org/api/query"
    crossref: str = "https://api.crossref.org/works"
    pubmed: str = "https://eutils.ncbi.nlm.nih.gov/entrez/eutils"


@dataclass(frozen=True, slots=True)
class FeedResponse:
    """A record from a feed, and its abstract, which is searched for tags and never stored."""

    record: PaperRecord
    abstract: str = ""
    withdrawn: bool = False


# --- arXiv ---------------------------------------------------------------------------------------


def arxiv_by_id(base: str, ids: Sequence[str]) -> str:
    """Address of a query for these works, at most ARXIV_BATCH."""
    query = {"id_list": ",".join(ids), "max_results": len(ids)}
    return f"{base}?{urlencode(query, safe=',')}"


def arxiv_newest(base: str, number: int) -> str:
    """Address of a query for the newest works of the field."""
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
    responses = []
    for entry in root.findall("a:entry", ATOM):
        address = xmlsafe.text(entry.find("a:id", ATOM))
        if "/api/errors" in address:
            reason = xmlsafe.text(entry.find("a:summary", ATOM))[:200]
            raise xmlsafe.XmlError(f"arXiv answered with an error: {reason}")
        identifier = identify.arxiv_id(address)
        if identifier:
            responses.append(_arxiv_answer(entry, address, identifier, day))
    return responses


def _arxiv_answer(entry: Element, address: str, identifier: str, day: str) -> FeedResponse:
    names = list(map(xmlsafe.text, entry.findall("a:author/a:name", ATOM)))
    values: dict[str, Any] = {
        "title": xmlsafe.text(entry.find("a:title", ATOM)),
        "authors": tuple(people.author(name) for name in names if name),
        "date": _valid_date(xmlsafe.text(entry.find("a:published", ATOM))[:10]),
        "arxiv": _arxiv_facts(entry, address, identifier),
        "doi": identify.doi_of(xmlsafe.text(entry.find("x:doi", ATOM))),
    }
    record = _build_record(f"arxiv:{identifier}", values, "arxiv", day)
    abstract = xmlsafe.text(entry.find("a:summary", ATOM))
    comment = xmlsafe.text(entry.find("x:comment", ATOM)).lower()
    return FeedResponse(record, abstract, "withdrawn" in comment)


def _arxiv_facts(entry: Element, address: str, identifier: str) -> Arxiv:
    """Version and categories of a preprint; other classifications, as MSC, are left out."""
    version = 0
    if match := re.search(r"v(\d+)$", address):
        version = int(match[1])
    primary = ""
    element = entry.find("x:primary_category", ATOM)
    if element is not None:
        primary = element.get("term", "")
    terms = [each.get("term", "") for each in entry.findall("a:category", ATOM)]
    categories = list(filter(_CATEGORY.fullmatch, dict.fromkeys(terms)))
    return Arxiv(identifier, version, primary, tuple(categories))


def _build_record(identifier: str, values: Mapping[str, Any], source: str, day: str) -> PaperRecord:
    known = {name: value for name, value in values.items() if value}
    record = PaperRecord(identifier, known.get("title") or "(without title)")
    return with_origin(record, Origin(source, day), **known)


def _valid_date(text: str) -> str:
    """The text if it is a date; else ""."""
    if DATE.fullmatch(text):
        return text
    return ""


# --- Crossref ------------------------------------------------------------------------------------


def crossref_by_doi(base: str, doi: str) -> str:
    """Address of a query for one work."""
    return f"{base}/{quote(doi, safe='')}"


def crossref_by_title(base: str, record: PaperRecord) -> str:
    """Address of a query for the works whose titles fit best."""
    words = f"{record.title} {record.first}".strip()
    return f"{base}?{urlencode({'query.bibliographic': words, 'rows': 3})}"


def crossref_answers(body: bytes, day: str) -> list[FeedResponse]:
    """Works of a response, one or a list.

    Raises:
        ReadError: not Crossref's JSON.
    """
    message = _parse_json(body, "Crossref").get("message")
    if not isinstance(message, dict):
        raise ReadError("the response of Crossref has no message")
    items = []
    if message.get("DOI"):
        items = [message]
    items = message.get("items", items)
    responses = [_crossref_answer(item, day) for item in items if isinstance(item, dict)]
    return [response for response in responses if response is not None]


def _crossref_answer(item: Mapping[str, Any], day: str) -> FeedResponse | None:
    doi = str(item.get("DOI", "")).lower()
    title = _plain_text(next(iter(item.get("title") or []), ""))
    if not doi.startswith("10.") or not title:
        return None
    people = [_crossref_author(each) for each in item.get("author", []) if each.get("family")]
    values = {
        "authors": tuple(people),
        "date": _date_from_parts((item.get("issued") or {}).get("date-parts")),
        "venue": _crossref_venue(item),
        "doi": doi,
        "title": title,
    }
    return FeedResponse(_build_record(f"doi:{doi}", values, "crossref", day))


def _crossref_author(person: Mapping[str, Any]) -> Author:
    orcid = str(person.get("ORCID", "")).rpartition("/")[2]
    return Author(str(person["family"]), str(person.get("given", "")), orcid)


def _crossref_venue(item: Mapping[str, Any]) -> Venue | None:
    names = item.get("container-title") or []
    kind = CROSSREF_TYPES.get(str(item.get("type")), "")
    if not names or kind == "preprint":
        return None
    return Venue(_plain_text(names[0]), kind)


def _plain_text(value: Any) -> str:
    """Text without the tags and entities that Crossref leaves in titles."""
    return " ".join(html.unescape(re.sub(r"</?\w+[^<>]*>", "", str(value))).split())


def _date_from_parts(parts: Any) -> str:
    """ "2024-08" of [[2024, 8]]."""
    if not isinstance(parts, list) or not parts:
        return ""
    numbers = [number for number in parts[0] if isinstance(number, int)]
    if not numbers:
        return ""
    year, *rest = numbers[:3]
    return _valid_date("-".join([f"{year:04d}", *(f"{number:02d}" for number in rest)]))


# --- PubMed --------------------------------------------------------------------------------------


def pubmed_search(base: str, record: PaperRecord) -> str:
    """Address of a query for the ids of a work: by DOI, else by title."""
    words = re.sub(r"[^\w\s-]", " ", record.title)
    if record.doi:
        term = f"{record.doi}[doi]"
    else:
        term = f'"{words}"[Title]'
    query = {"db": "pubmed", "retmode": "json", "retmax": 3, "term": term, "tool": "segscope"}
    return f"{base}/esearch.fcgi?{urlencode(query)}"


def pubmed_fetch(base: str, ids: Iterable[str]) -> str:
    """Address of a query for the works of these ids, at most PUBMED_BATCH."""
    query = {"db": "pubmed", "retmode": "xml", "id": ",".join(ids), "tool": "segscope"}
    return f"{base}/efetch.fcgi?{urlencode(query, safe=',')}"


def pubmed_ids(body: bytes) -> list[str]:
    """Ids of a search.

    Raises:
        ReadError: not PubMed's JSON.
    """
    result = _parse_json(body, "PubMed").get("esearchresult")
    if not isinstance(result, dict) or "ERROR" in result:
        raise ReadError(f"the search at PubMed failed: {str(result)[:120]}")
    return [str(each) for each in result.get("idlist", []) if str(each).isdecimal()]


def pubmed_answers(body: bytes, day: str) -> list[FeedResponse]:
    """Works of a set of articles; subject headings are added to the abstract, for tags.

    Raises:
        XmlError: not PubMed's XML.
    """
    root = xmlsafe.parse(body, "PubmedArticleSet", named_type=True)
    responses = [_pubmed_answer(article, day) for article in root.findall("PubmedArticle")]
    return [response for response in responses if response is not None]


def _pubmed_answer(article: Element, day: str) -> FeedResponse | None:
    inner = "MedlineCitation/Article"
    pmid = xmlsafe.text(article.find("MedlineCitation/PMID"))
    title = xmlsafe.text(article.find(f"{inner}/ArticleTitle")).removesuffix(".")
    if not pmid.isdecimal() or not title:
        return None
    ids = {}
    for each in article.findall("PubmedData/ArticleIdList/ArticleId"):
        ids[each.get("IdType")] = xmlsafe.text(each)
    doi = ids.get("doi", "").lower()
    journal = xmlsafe.text(article.find(f"{inner}/Journal/Title"))
    values: dict[str, Any] = {
        "pmid": pmid,
        "doi": doi,
        "authors": _pubmed_authors(article.findall(f"{inner}/AuthorList/Author")),
        "date": _pubmed_date(article.find(f"{inner}/Journal/JournalIssue/PubDate")),
        "title": title,
    }
    identifier = identify.slug(title, "")
    if doi:
        identifier = f"doi:{doi}"
    if journal:
        values["venue"] = Venue(journal, "journal")
    headings = "; ".join(map(xmlsafe.text, article.iter("DescriptorName")))
    abstract = xmlsafe.text(article.find(f"{inner}/Abstract"))
    record = _build_record(identifier, values, "pubmed", day)
    return FeedResponse(record, f"{headings}. {abstract}")


def _pubmed_authors(elements: Iterable[Element]) -> tuple[Author, ...]:
    people = []
    for element in elements:
        family = xmlsafe.text(element.find("LastName"))
        if family:
            people.append(Author(family, xmlsafe.text(element.find("ForeName"))))
    return tuple(people)


def _pubmed_date(element: Element | None) -> str:
    if element is None:
        return ""
    year, month, day = (xmlsafe.text(element.find(name)) for name in ("Year", "Month", "Day"))
    number = _month_number(month)
    if not number:
        return _valid_date(year)
    if not day.isdecimal():
        return _valid_date(f"{year}-{number:02d}")
    return _valid_date(f"{year}-{number:02d}-{int(day):02d}")


def _month_number(month: str) -> int:
    """1 to 12 of a name or a number; 0 for anything else."""
    name = month[:3].lower()
    if name in MONTHS:
        return MONTHS.index(name) + 1
    if month.isdecimal():
        return int(month)
    return 0


def _parse_json(body: bytes, source: str) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        what = "no JSON"
        if body[:200].lstrip().lower().startswith((b"<!doctype", b"<html")):
            what = "HTML instead of JSON"
        raise ReadError(f"{source} answered with {what}; try again later") from error
    if not isinstance(document, dict):
        raise ReadError(f"the response of {source} is not a JSON object")
    return document
