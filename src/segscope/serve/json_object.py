"""JSON objects from clients whose protocols have no schema of ours."""

from __future__ import annotations

import json
import math
from typing import TypeGuard

from pydantic import JsonValue

from segscope.errors import UsageError

JsonObject = dict[str, JsonValue]


def parse_object(text: str | bytes | None, name: str) -> JsonObject:
    """The JSON object in a text; an empty one where the text is empty or missing.

    Args:
        text: what the client sent.
        name: what it is, for the message.

    Raises:
        UsageError: it is not JSON, or not an object.
    """
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} must be JSON ({type(error).__name__})") from None
    if not isinstance(value, dict):
        raise UsageError(f"{name} must be a JSON object, got {type(value).__name__}")
    return value


def text_field(values: JsonObject, name: str, default: str = "") -> str:
    """A field as text; the default where it is missing or empty."""
    return str(values.get(name) or default)


def is_number(value: object) -> TypeGuard[float]:
    """Whether a JSON value is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value)


def number_list(value: object, lengths: tuple[int, ...]) -> list[float] | None:
    """The finite numbers of a list that has one of the lengths; None for anything else."""
    if not isinstance(value, list) or len(value) not in lengths:
        return None
    if not all(map(is_number, value)):
        return None
    return list(map(float, value))


def abbreviate(value: object, length: int = 80) -> str:
    """A value from a client for a message, cut to a length."""
    return str(value)[:length]
