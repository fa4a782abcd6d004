"""Tensors of a preview."""

from __future__ import annotations

import torch

from segscope.memory.tensor_store import TensorStore
from segscope.session.scratch_store import ScratchStore


def test_it_reads_the_other_store_and_leaves_it_alone() -> None:
    base = TensorStore()
    stored = base.put(torch.arange(4.0))
    size = base.held_bytes
    scratch = ScratchStore(base)
    first, second = scratch.put(torch.ones(2)), scratch.put(torch.zeros(3))
    assert torch.equal(scratch.get(stored), torch.arange(4.0))
    assert torch.equal(scratch.get(first), torch.ones(2))
    assert torch.equal(scratch.get(second), torch.zeros(3))
    assert base.held_bytes == size
    scratch.close()
    assert torch.equal(base.get(stored), torch.arange(4.0))
