"""Messages: how long lists are shortened."""

from __future__ import annotations

import pytest

from segscope.errors import list_first


@pytest.mark.parametrize(
    ("items", "text"),
    [([], ""), ([3, 4], "3, 4"), (["a", "b", "c"], "a, b ...")],
)
def test_long_lists_are_cut(items: list[object], text: str) -> None:
    assert list_first(items, 2) == text


def test_the_separator_can_be_chosen() -> None:
    assert list_first("abc", 2, "; ") == "a; b ..."
