"""Answers of arXiv, Crossref and PubMed, as they should be and as they should not."""

from __future__ import annotations

import json

import pytest
from support.catalogue_server import articles, atom, work

from segscope.catalogue import feeds, xmlsafe
from segscope.catalogue.record import Arxiv, Author, Venue
from segscope.errors import ReadError

DAY = "2026-05-02"
ENTRY = {
    "id": "2605.00001v2",
    "title": "A title\n  in two lines",
    "authors": "Jane Doe; Rita A. Roe",
    "summary": "About CT.",
    "doi": "10.1000/ABC",
    "comment": "12 pages",
}
BOMB = '<?xml version="1.0"?><!DOCTYPE feed [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><feed>&b;</feed>'
OUTSIDE = '<?xml version="1.0"?><!DOCTYPE feed SYSTEM "file:///etc/passwd"><feed/>'
INNER = (
    '<?xml version="1.0"?><!DOCTYPE PubmedArticleSet [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    "<PubmedArticleSet/>"
)


def test_arxiv() -> None:
    [answer] = feeds.arxiv_answers(atom(ENTRY).encode(), DAY)
    record = answer.record
    assert (record.id, record.title, record.date) == (
        "arxiv:2605.00001",
        "A title in two lines",
        "2026-05-01",
    )
    assert record.authors == (Author("Doe", "Jane"), Author("Roe", "Rita A."))
    assert record.arxiv == Arxiv("2605.00001", 2, "cs.CV", ("cs.CV", "eess.IV"))
    assert record.doi == "10.1000/abc"
    assert answer.abstract == "About CT."
    assert "CT" not in json.dumps(record.provenance, default=str)
    assert not answer.withdrawn
    assert feeds.arxiv_answers(
        atom({**ENTRY, "comment": "This paper has been withdrawn"}).encode(), DAY
    )[0].withdrawn


def test_an_error_of_arxiv_in_an_atom_feed_is_an_error() -> None:
    body = atom({**ENTRY, "id": "api/errors#x", "summary": "incorrect id format"}).replace(
        "abs/api", "api"
    )
    with pytest.raises(ReadError, match="incorrect id format"):
        feeds.arxiv_answers(body.encode(), DAY)


@pytest.mark.parametrize(
    "body",
    [BOMB, OUTSIDE, "<html><body>busy</body></html>", "<!DOCTYPE html><p>", "<feed", "", "<rss/>"],
)
def test_what_is_no_atom_feed_is_refused(body: str) -> None:
    with pytest.raises(xmlsafe.XmlError):
        feeds.arxiv_answers(body.encode(), DAY)


def test_crossref() -> None:
    body = json.dumps(
        {
            "status": "ok",
            "message": work("10.1000/ABC", "On <b>Masks</b> &amp; more", "Doe", "Jane", 2025),
        }
    )
    [answer] = feeds.crossref_answers(body.encode(), DAY)
    record = answer.record
    assert (record.doi, record.title, record.date) == ("10.1000/abc", "On Masks & more", "2025-04")
    assert record.authors == (Author("Doe", "Jane", "0000-0001-2345-6789"),)
    assert record.venue == Venue("Journal of Images & Masks", "journal")
    many = json.dumps(
        {"message": {"items": [json.loads(body)["message"], {"DOI": "10.1/x"}, "junk"]}}
    )
    assert len(feeds.crossref_answers(many.encode(), DAY)) == 1


@pytest.mark.parametrize("body", ["<html>", "[]", '{"message": 3}', "{", '{"status": "failed"}'])
def test_what_is_not_crossref_is_refused(body: str) -> None:
    with pytest.raises(ReadError):
        feeds.crossref_answers(body.encode(), DAY)


def test_pubmed() -> None:
    [answer] = feeds.pubmed_answers(
        articles("123", "A title of masks", "10.1000/ABC").encode(), DAY
    )
    record = answer.record
    assert (record.pmid, record.doi, record.title, record.date) == (
        "123",
        "10.1000/abc",
        "A title of masks",
        "2026-05",
    )
    assert record.venue == Venue("Masks", "journal")
    assert "ultrasound" in answer.abstract
    assert feeds.pubmed_ids(b'{"esearchresult": {"idlist": ["1", "x"]}}') == ["1"]


@pytest.mark.parametrize("body", [INNER, "<html/>", atom()])
def test_what_is_not_pubmed_is_refused(body: str) -> None:
    with pytest.raises(xmlsafe.XmlError):
        feeds.pubmed_answers(body.encode(), DAY)


def test_requests_are_encoded() -> None:
    assert (
        feeds.arxiv_by_id("http://a/q", ["2605.1", "2605.2"])
        == "http://a/q?id_list=2605.1,2605.2&max_results=2"
    )
    assert (
        feeds.crossref_by_doi("http://a/works", "10.1/a b#c") == "http://a/works/10.1%2Fa%20b%23c"
    )
    assert "sortBy=submittedDate" in feeds.arxiv_newest("http://a/q", 5)
