"""Presets: settings of a method by one word, and settings that are one of some words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from segscope.errors import UnknownName


def apply(method: Any, presets: Mapping[str, Mapping[str, Any]]) -> None:
    """Give settings of a frozen dataclass that still have their defaults the values of its
    `preset`.

    Raises:
        UnknownName: no such preset.
    """
    if not method.preset:
        return
    if method.preset not in presets:
        raise UnknownName(f"preset of {method.name}", method.preset, presets)
    defaults = {item.name: item.default for item in dataclasses.fields(method)}
    for name, value in presets[method.preset].items():
        if getattr(method, name) == defaults[name]:
            object.__setattr__(method, name, value)


def check(method: Any, **words: Iterable[str]) -> None:
    """Refuse settings that are none of their words.

    Raises:
        UnknownName: the message lists the words.
    """
    for name, known in words.items():
        if getattr(method, name) not in known:
            raise UnknownName(f"{name} of {method.name}", str(getattr(method, name)), known)
