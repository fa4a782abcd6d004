"""TensorStore: tensors of past frames on disk, the latest also in memory, so that long videos take
constant memory.
"""

from __future__ import annotations

import tempfile
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segscope.errors import WriteError


@dataclass(frozen=True, slots=True)
class TensorHandle:
    """Where a tensor lies in a store."""

    offset: int
    shape: tuple[int, ...]
    dtype: torch.dtype


class TensorStore:
    """An append-only temporary file of tensors, which come back bit for bit; for several threads.

    Args:
        cache_bytes: memory for the latest ones.

    Attributes:
        held_bytes: memory that the latest tensors take.
    """

    def __init__(self, cache_bytes: int = 24 * 2**20) -> None:
        # open as long as the store lives
        self._file = tempfile.TemporaryFile(prefix="segscope-")  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._end = 0
        self._cache_bytes = cache_bytes
        self.held_bytes = 0
        self._cache: OrderedDict[int, Tensor] = OrderedDict()
        self._lock = threading.Lock()  # masks are read while others are computed

    def put(self, tensor: Tensor) -> TensorHandle:
        """Append a tensor that is not empty.

        Raises:
            WriteError: the disk is full.
        """
        # a copy, since a row of a batch would hold the whole batch in memory
        tensor = tensor.detach().clone(memory_format=torch.contiguous_format)
        flat = tensor.cpu().reshape(-1).view(torch.uint8)
        with self._lock:
            handle = TensorHandle(self._end, tuple(tensor.shape), tensor.dtype)
            try:
                self._file.seek(self._end)
                self._file.write(flat.numpy().tobytes())
                self._file.flush()
            except OSError as error:
                raise WriteError(
                    f"cannot write past frames to {tempfile.gettempdir()}: "
                    f"{error.strerror or error}. Free some space there."
                ) from error
            self._end += flat.numel()
            self._add_to_cache(handle, tensor)
        return handle

    def get(self, handle: TensorHandle, device: torch.device | str = "cpu") -> Tensor:
        """The tensor of a handle."""
        with self._lock:
            tensor = self._cache.get(handle.offset)
            if tensor is None:
                tensor = self._read(handle)
                self._add_to_cache(handle, tensor)
            else:
                self._cache.move_to_end(handle.offset)
        return tensor.to(device)

    def _read(self, handle: TensorHandle) -> Tensor:
        self._file.seek(handle.offset)
        size = int(np.prod(handle.shape, dtype=np.int64)) * handle.dtype.itemsize
        content = bytearray(self._file.read(size))
        return torch.frombuffer(content, dtype=handle.dtype).reshape(handle.shape)

    def _add_to_cache(self, handle: TensorHandle, tensor: Tensor) -> None:
        self._cache[handle.offset] = tensor
        self.held_bytes += tensor.numel() * tensor.element_size()
        while self.held_bytes > self._cache_bytes and len(self._cache) > 1:
            _, oldest = self._cache.popitem(last=False)
            self.held_bytes -= oldest.numel() * oldest.element_size()

    def close(self) -> None:
        """Give the disk space back."""
        self._cache.clear()
        self._file.close()
