"""What tells one engine's answers from another's."""

from __future__ import annotations

from typing import Any

from segscope.models.engine import Engine
from segscope.models.segmenter import Segmenter


def engine_identity(engine: Engine | Segmenter) -> dict[str, Any]:
    """What tells one engine's answers from another's."""
    return {"model": engine.card.name, "weights": engine.weights_hash, **engine.settings()}
