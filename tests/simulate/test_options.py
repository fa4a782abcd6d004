"""Options of simulators."""

from __future__ import annotations

import pytest

from segscope.errors import UnknownName, UsageError
from segscope.simulate.options import OPTIONS, Value, check_options


def test_text_becomes_numbers_and_options_are_sorted() -> None:
    options = check_options("box.jitter", [("pixels", "20"), ("kind", "b")], ["kind", "pixels"])
    assert list(options.items()) == [("kind", "b"), ("pixels", 20.0)]
    assert isinstance(OPTIONS["k"].check("k", "3"), int)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("k", "2.5", "a whole number from 1 to 1000"),
        ("k", 0, "a whole number from 1 to 1000"),
        ("share", "nan", "a number from 0 to 1"),
        ("way", "shrink", "one of erode, dilate, either"),
        ("way", 1, "one of erode, dilate, either"),
    ],
)
def test_other_values_are_refused(name: str, value: Value, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        OPTIONS[name].check(name, value)


def test_unknown_and_repeated_options_are_refused() -> None:
    with pytest.raises(UnknownName, match="near: pixels"):
        check_options("box.jitter", [("pixel", 3)], ["kind", "pixels"])
    with pytest.raises(UsageError, match="given twice"):
        check_options("points.k", [("k", 1), ("k", 2)], ["k"])
    with pytest.raises(UsageError, match="no options"):
        check_options("box.tight", [("k", 1)], [])
