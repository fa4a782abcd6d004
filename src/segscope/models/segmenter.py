"""Segmenter: a network that needs no prompt. The other thing, beside an Engine, that
`segscope.load` may give.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segscope.errors import UsageError
from segscope.models.model_cards import Card


@runtime_checkable
class Segmenter(Protocol):
    """A loaded network that names every pixel.

    `isinstance(model, Segmenter)` tells one from an Engine.

    Attributes:
        card: where it comes from; `prompts` is empty and `memory` false.
        device, dtype: where and how it computes.
        input_size: side of the square input in pixels.
        weights_hash: SHA-256 of the weights, first 16 hex digits; part of every record.
        classes: names of the classes 1 to C; class 0 is background and has no name.
    """

    card: Card
    device: torch.device
    dtype: torch.dtype
    input_size: int
    weights_hash: str
    classes: tuple[str, ...]

    def predict(self, rgb: NDArray[np.uint8]) -> Tensor:
        """(C + 1, row, column) float32 logits of an image (row, column, 3), at its size; the
        largest is the class.
        """

    def settings(self) -> dict[str, Any]:
        """What must be equal for equal answers: family, input size, dtype, library versions."""


def refuse_segmenter(model: object) -> None:
    """Raise UsageError for a network that takes no prompts."""
    if isinstance(model, Segmenter):
        raise UsageError(
            f"{model.card.name} takes no prompts: it segments {', '.join(model.classes)} without "
            "them. Use `segscope everything`, or another model"
        )
