from __future__ import annotations

import torch

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
