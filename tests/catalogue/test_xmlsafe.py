"""XML from the network: only the expected document is read."""

from __future__ import annotations

import pytest

from segscope.catalogue.xmlsafe import XmlError, parse, text

NAMED = '<!DOCTYPE set PUBLIC "-//NLM//DTD" "https://dtd.example.org/p.dtd"><set><a>1</a></set>'


def test_the_text_below_an_element_has_single_spaces() -> None:
    root = parse(b"<set><a> one <b>two</b>\n three </a></set>", "set")
    assert text(root.find("a")) == "one two three"
    assert text(root.find("c")) == ""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<feed/>", "expected 'set'"),
        ("<set>", "damaged"),
        ("<!doctype html><p>", "HTML instead of XML"),
        ('<!DOCTYPE set [<!ENTITY a "ha">]><set>&a;</set>', "declares"),
        (NAMED, "document type"),
    ],
)
def test_other_documents_are_refused(body: str, message: str) -> None:
    with pytest.raises(XmlError, match=message):
        parse(body.encode(), "set")


def test_a_named_type_without_declarations_may_be_allowed() -> None:
    assert text(parse(NAMED.encode(), "set", named_type=True)) == "1"
