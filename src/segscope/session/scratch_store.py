"""ScratchStore: tensors of a preview, which are gone when it is over."""

from __future__ import annotations

import torch
from torch import Tensor

from segscope.memory.tensor_store import TensorHandle, TensorStore


class ScratchStore(TensorStore):
    """Reads another store; new tensors stay in memory until they are dropped."""

    def __init__(self, base: TensorStore) -> None:
        self._base = base
        self._new: dict[int, Tensor] = {}

    def put(self, tensor: Tensor) -> TensorHandle:
        # offsets in a file count from 0, so negative ones are free for scratch
        handle = TensorHandle(-1 - len(self._new), tuple(tensor.shape), tensor.dtype)
        self._new[handle.offset] = tensor.detach()
        return handle

    def get(self, ticket: TensorHandle, device: torch.device | str = "cpu") -> Tensor:
        tensor = self._new.get(ticket.offset)
        if tensor is None:
            return self._base.get(ticket, device)
        return tensor.to(device)

    def close(self) -> None:
        self._new.clear()
