"""Standalone: adaptations whose result works without the base they were made with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from segscope.models.model_cards import CARDS, Card


class MissingBase:
    """Stands where a base would, for `Method.attach` of a finished adaptation; its network is
    empty.

    Args:
        base: what the record says of the base.
        device: where to compute.
    """

    memory_frames = pointer_limit = 0
    uses_previous_logits = False

    def __init__(self, base: Mapping[str, Any], device: torch.device | str) -> None:
        self.model = nn.Module()
        self.device = torch.device(device)
        self.dtype = torch.float32
        self.input_size = int(base["input_size"])
        self.weights_hash = str(base["weights_hash"])
        name = str(base["name"])
        family = str(base["family"])
        known = next((entry for entry in CARDS if entry.name == name), None)
        self.card = known or Card(name, family, str(base["size"]), self.input_size, "unknown", "")  # type: ignore[arg-type]
