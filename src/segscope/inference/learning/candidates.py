"""Candidates: the ways in which the network's logits and a ridge's values are added up."""

from __future__ import annotations

import torch
from torch import Tensor

#: (share of the network's logits, share of the ridge's values)
SHARES_OF_GLOBAL = ((1.0, 0.5), (1.0, 1.0), (1.0, 2.0), (1.0, 4.0), (1.0, 8.0), (0.0, 1.0))
SHARES_OF_LOCAL = ((1.0, 1.0), (1.0, 2.0), (1.0, 4.0), (0.0, 1.0))
CANDIDATES = len(SHARES_OF_GLOBAL) + len(SHARES_OF_LOCAL)


def add_up(own: Tensor, whole: Tensor, local: Tensor) -> Tensor:
    """(CANDIDATES, N) logits.

    Args:
        own: (N,) logits of the network.
        whole: (N,) values of the ridge of all examples.
        local: (N,) values of the ridge of the examples like the window.
    """
    rows = [network * own + ridge * whole for network, ridge in SHARES_OF_GLOBAL]
    rows += [network * own + ridge * local for network, ridge in SHARES_OF_LOCAL]
    return torch.stack(rows)
