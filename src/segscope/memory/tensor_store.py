"""TensorStore: tensors of past frames on disk, with the latest kept in memory, so that long videos cost
constant memory.
"""

from __future__ import annotations

import tempfile
import weakref
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segscope.errors import SegscopeError


@dataclass(frozen=True, slots=True)
class TensorHandle:
    """Where a tensor lies in a spool."""

    offset: int
    shape: tuple[int, ...]
    dtype: torch.dtype


class TensorStore:
    """An append-only temporary file of tensors. What is read back is bit for bit what was put in.

    Args:
        cache_bytes: how much of the latest is kept in memory.
    """

    def __init__(self, cache_bytes: int = 24 * 2**20) -> None:
        self._file = tempfile.TemporaryFile(prefix="segscope-")
        weakref.finalize(self, self._file.close)
        self._end = 0
        self._budget = cache_bytes
        self._held = 0
        self._cache: OrderedDict[int, Tensor] = OrderedDict()

    @property
    def held_bytes(self) -> int:
        """What is kept in memory."""
        return self._held

    def put(self, tensor: Tensor) -> TensorHandle:
        """Keep a tensor that is not empty.

        Raises:
            SegscopeError: the disk is full.
        """
        tensor = tensor.detach().clone(
            memory_format=torch.contiguous_format
        )  # a row would hold its whole batch
        if tensor.dim():
            data = tensor.cpu().view(torch.uint8)
        else:
            data = tensor.cpu()[None].view(torch.uint8)
        ticket = TensorHandle(self._end, tuple(tensor.shape), tensor.dtype)
        try:
            self._file.seek(self._end)
            self._file.write(data.numpy().tobytes())
            self._file.flush()
        except OSError as error:
            raise SegscopeError(
                f"cannot keep the memory of past frames in {tempfile.gettempdir()}: {error.strerror or error}. "
                "Free some space there, or set TMPDIR to a folder on a larger disk."
            ) from error
        self._end += data.numel()
        self._remember(ticket, tensor)
        return ticket

    def get(self, ticket: TensorHandle, device: torch.device | str = "cpu") -> Tensor:
        """The tensor of a ticket."""
        found = self._cache.get(ticket.offset)
        if found is None:
            self._file.seek(ticket.offset)
            size = int(np.prod(ticket.shape, dtype=np.int64)) * ticket.dtype.itemsize
            raw = torch.frombuffer(bytearray(self._file.read(size)), dtype=ticket.dtype)
            found = raw.reshape(ticket.shape)
            self._remember(ticket, found)
        else:
            self._cache.move_to_end(ticket.offset)
        return found.to(device)

    def _remember(self, ticket: TensorHandle, tensor: Tensor) -> None:
        self._cache[ticket.offset] = tensor
        self._held += tensor.numel() * tensor.element_size()
        while self._held > self._budget and len(self._cache) > 1:
            _, old = self._cache.popitem(last=False)
            self._held -= old.numel() * old.element_size()

    def close(self) -> None:
        """Give the disk space back."""
        self._cache.clear()
        self._file.close()
