"""JSON of other protocols: objects, texts and numbers, or an error that names what is wrong."""

from __future__ import annotations

import pytest

from segscope.errors import UsageError
from segscope.serve.json_object import is_number, number_list, parse_object, text_field


def test_an_object_or_nothing() -> None:
    assert parse_object('{"a": 1}', "params") == {"a": 1}
    assert parse_object(None, "params") == parse_object(b"", "params") == {}


@pytest.mark.parametrize("text", ["[1]", "1", "{", "[" * 100_000, b"\xff"])
def test_anything_else_is_refused_by_name(text: str | bytes) -> None:
    with pytest.raises(UsageError, match="params"):
        parse_object(text, "params")


def test_texts_have_defaults() -> None:
    assert text_field({"label": "liver"}, "label") == "liver"
    assert text_field({"label": None}, "label", "object") == "object"


def test_numbers_are_finite_and_no_booleans() -> None:
    assert [is_number(value) for value in (1, 1.5, True, float("nan"), "1", None)] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    assert number_list([1, 2.5], (2, 3)) == [1.0, 2.5]
    assert number_list([1], (2, 3)) is None
    assert number_list([1, "2"], (2, 3)) is None
    assert number_list("12", (2,)) is None
