"""XML from the network: without entities, without document types that declare anything, and never
HTML.
"""

from __future__ import annotations

from xml.etree import ElementTree
from xml.parsers import expat

from segscope.errors import ReadError


class XmlError(ReadError):
    """Not the expected XML, or XML that could do harm."""


def parse(body: bytes, root: str, *, named_type: bool = False) -> ElementTree.Element:
    """The root element of a document.

    Args:
        root: the local name that the root element must have.
        named_type: allow `<!DOCTYPE name PUBLIC ...>` without declarations of its own, as PubMed
            sends; the file that it names is never fetched.

    Raises:
        XmlError: anything other than such a document.
    """
    if _is_html(body):
        raise XmlError("HTML instead of XML, probably an error page; try again later")
    scan = expat.ParserCreate()

    def doctype(_name: str, _system: str | None, _public: str | None, declares: int) -> None:
        if declares or not named_type:
            raise XmlError("the XML declares a document type, which is not allowed")

    def entity(*_: object) -> None:
        raise XmlError("the XML declares entities, which is not allowed")

    scan.StartDoctypeDeclHandler = doctype
    scan.EntityDeclHandler = entity
    scan.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    try:
        scan.Parse(body, True)
        element = ElementTree.fromstring(body)
    except (expat.ExpatError, ElementTree.ParseError, ValueError) as error:
        raise XmlError(f"the XML is damaged: {error}") from error
    name = element.tag.rpartition("}")[2]
    if name != root:
        raise XmlError(f"the root element of the XML is {name!r}, expected {root!r}")
    return element


def _is_html(body: bytes) -> bool:
    head = body[:2000].lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return True
    return b"<html" in head and not head.startswith(b"<?xml")


def text(element: ElementTree.Element | None) -> str:
    """All text below an element, white space collapsed."""
    if element is None:
        return ""
    return " ".join("".join(element.itertext()).split())
