"""Batch norm as the project's own networks have it."""

from __future__ import annotations

from typing import Any

from torch import nn


class BatchNorm(nn.BatchNorm2d):
    """Batch norm without torch's counter of batches, so that weight files hold nothing but
    weights.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.num_batches_tracked = None

    def _load_from_state_dict(self, *arguments: Any) -> None:
        # torch's own version would require the counter
        nn.Module._load_from_state_dict(self, *arguments)
