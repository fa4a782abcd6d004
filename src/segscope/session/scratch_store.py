"""Preview: what prompts would give, without keeping anything."""

from __future__ import annotations

import torch
from torch import Tensor

from segscope.memory.tensor_store import TensorHandle, TensorStore


class Scratch(TensorStore):
    """Reads a spool, and keeps what is put into it in memory until it is dropped."""

    def __init__(self, base: TensorStore) -> None:
        self._base = base
        self._new: dict[int, Tensor] = {}

    def put(self, tensor: Tensor) -> TensorHandle:
        ticket = TensorHandle(-1 - len(self._new), tuple(tensor.shape), tensor.dtype)
        self._new[ticket.offset] = tensor.detach()
        return ticket

    def get(self, ticket: TensorHandle, device: torch.device | str = "cpu") -> Tensor:
        found = self._new.get(ticket.offset)
        if found is None:
            return self._base.get(ticket, device)
        return found.to(device)

    def close(self) -> None:
        self._new.clear()
