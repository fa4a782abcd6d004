"""Missing base: what stands in for the base of an adaptation that works without it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from segscope.models.model_cards import CARDS, Card


class MissingBase:
    """Takes the place of a base in `Method.attach` of a finished adaptation; its network is empty.

    Args:
        base: the base as the record of the adaptation describes it.
        device: where to compute.
    """

    memory_frames = 0
    pointer_limit = 0
    uses_previous_logits = False

    def __init__(self, base: Mapping[str, Any], device: torch.device | str) -> None:
        self.model = nn.Module()
        self.device = torch.device(device)
        self.dtype = torch.float32
        self.input_size = int(base["input_size"])
        self.weights_hash = str(base["weights_hash"])
        self.card = _card_of(base)


def _card_of(base: Mapping[str, Any]) -> Card:
    """The card of a base, or what its record says where there is none of that name any more."""
    name = str(base["name"])
    cards = {card.name: card for card in CARDS}
    if name in cards:
        return cards[name]
    return Card(name, base["family"], str(base["size"]), int(base["input_size"]), "unknown", "")
