"""Presets: named groups of settings of a method, and the check of settings that are one of a few
words.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TypeVar

from segscope.adapt.method import Method
from segscope.errors import UnknownName, UsageError

SomeMethod = TypeVar("SomeMethod", bound=Method)
Presets = Mapping[str, Mapping[str, object]]


def apply_settings(
    method: SomeMethod, changes: Mapping[str, object], presets: Presets
) -> SomeMethod:
    """A copy of a method with other settings.

    A `preset` among the changes sets all its settings that are not changed by name and still have
    their defaults.

    Raises:
        UnknownName: no such preset.
    """
    preset = str(changes.get("preset", ""))
    if not preset:
        return dataclasses.replace(method, **changes)
    if preset not in presets:
        raise UnknownName(f"preset of {method.name}", preset, presets)
    defaults = {item.name: item.default for item in dataclasses.fields(method)}
    untouched = {
        name: value
        for name, value in presets[preset].items()
        if getattr(method, name) == defaults[name]
    }
    return dataclasses.replace(method, **{**untouched, **changes})


def check_members(
    method: Method,
    name: str,
    allowed: Iterable[str],
    *,
    may_be_empty: bool = False,
    nothing: str = "none",
) -> None:
    """Refuse a setting that lists anything but allowed words, or none of them.

    Args:
        method: has the setting.
        name: of the setting.
        allowed: words that it may list.
        may_be_empty: whether it may list none.
        nothing: an empty list in the message.

    Raises:
        UsageError: the message lists the words.
    """
    chosen = getattr(method, name)
    if set(chosen) - set(allowed) or not (chosen or may_be_empty):
        raise UsageError(
            f"{name} must be of {', '.join(allowed)}, got {', '.join(chosen) or nothing}"
        )


def check_words(method: Method, **allowed: Iterable[str]) -> None:
    """Refuse settings that are not one of their allowed words.

    Raises:
        UnknownName: the message lists the words.
    """
    for name, words in allowed.items():
        value = getattr(method, name)
        if value not in words:
            raise UnknownName(f"{name} of {method.name}", str(value), words)
