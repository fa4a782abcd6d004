"""XML from the network: no entities, no document types that declare anything, no HTML in its place."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from segscope.errors import ReadError


class XmlError(ReadError):
    """Not the XML that was wanted, or XML that could do harm."""


def parse(body: bytes, root: str, *, named_type: bool = False) -> ElementTree.Element:
    """The root element of a document.

    Args:
        root: the local name that the root element must have.
        named_type: allow `<!DOCTYPE name PUBLIC ...>` without declarations of its own, as PubMed
            sends; the file that it names is never fetched.

    Raises:
        XmlError: anything else than such a document.
    """
    head = body[:2000].lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")) or (
        b"<html" in head and b"<?xml" not in head[:5]
    ):
        raise XmlError(
            "HTML came instead of XML, probably a page for people that says why; try again later"
        )
    scan = expat.ParserCreate()

    def doctype(_name: str, _system: str | None, _public: str | None, declares: int) -> None:
        if declares or not named_type:
            raise XmlError("the XML declares a document type, which was refused")

    def refused(*_: Any) -> None:
        raise XmlError("the XML declares entities, which were refused")

    scan.StartDoctypeDeclHandler = doctype
    scan.EntityDeclHandler = refused
    scan.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    try:
        scan.Parse(body, True)
        element = ElementTree.fromstring(body)
    except (expat.ExpatError, ElementTree.ParseError, ValueError) as error:
        raise XmlError(f"the XML is damaged: {error}") from error
    if element.tag.rpartition("}")[2] != root:
        raise XmlError(f"the XML is {element.tag.rpartition('}')[2]!r}, wanted {root!r}")
    return element


def text(element: ElementTree.Element | None) -> str:
    """All text below an element, white space collapsed."""
    if element is not None:
        return " ".join("".join(element.itertext()).split())
    return ""
