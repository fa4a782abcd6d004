"""What a log names its image and its engine by, and whether others are the same."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from segscope.errors import UsageError
from segscope.models.engine import Engine, engine_identity
from segscope.stack import Stack
from segscope.wire import JsonObject


def stack_identity(stack: Stack) -> JsonObject:
    """Shape, type, axis, and a hash of the first, middle and last frame."""
    digest = hashlib.sha256()
    for index in sorted({0, len(stack) // 2, len(stack) - 1}):
        digest.update(np.ascontiguousarray(stack[index]).tobytes())
    return {
        "shape": list(stack.source.shape),
        "dtype": str(np.dtype(stack.source.dtype)),
        "axis": stack.axis,
        "sha256": digest.hexdigest()[:16],
    }


def check_stack(identity: JsonObject, stack: Stack, path: Path) -> None:
    """Refuse to replay a log on another image.

    Raises:
        UsageError: with both identities.
    """
    expected = stack_identity(stack)
    if identity != expected:
        raise UsageError(
            f"{path} belongs to another image: the log names {identity}, this image is {expected}"
        )


def engine_difference(identity: JsonObject, engine: Engine) -> str:
    """How an engine differs from the one that has this identity, or "" when they are the same."""
    present = engine_identity(engine)
    for key in ("model", "weights", "input_size"):
        if identity.get(key) != present[key]:
            return f"made with {key} {identity.get(key)!r}; this engine has {present[key]!r}"
    return ""
