"""Messages: how long lists are shortened, and counts written."""

from __future__ import annotations

import pytest

from segscope.errors import format_count, list_first


@pytest.mark.parametrize(
    ("items", "text"),
    [([], ""), ([3, 4], "3, 4"), (["a", "b", "c"], "a, b ...")],
)
def test_long_lists_are_cut(items: list[object], text: str) -> None:
    assert list_first(items, 2) == text


def test_the_separator_can_be_chosen() -> None:
    assert list_first("abc", 2, "; ") == "a; b ..."


def test_counts_have_a_noun_in_its_number() -> None:
    assert [format_count(count, "file") for count in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert format_count(1, "entry", "entries") == "1 entry"
    assert format_count(2, "entry", "entries") == "2 entries"
