from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
import torch

from segscope.errors import WriteError
from segscope.memory.tensor_store import TensorStore


def test_tensors_beyond_the_cache_come_back_bit_for_bit() -> None:
    store = TensorStore(cache_bytes=1000)
    tensors = [torch.randn(7, 5), torch.randn(300).bfloat16(), torch.zeros(())] * 10
    handles = [store.put(item) for item in tensors]
    for item, handle in zip(tensors, handles, strict=True):
        back = store.get(handle)
        assert back.dtype == item.dtype
        assert torch.equal(back, item)
    store.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_full(**_: object) -> object:
        return os.fdopen(os.open("/dev/full", os.O_RDWR), "wb", buffering=0)

    monkeypatch.setattr(tempfile, "TemporaryFile", open_full)
    with pytest.raises(WriteError, match="Free some space there") as caught:
        TensorStore().put(torch.ones(3))
    assert "TMPDIR" not in str(caught.value)  # a server has its own folder for temporary files
