"""One process of several, and one alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from segscope.adapt.training import distributed
from segscope.adapt.training.distributed import Processes, join_processes, local_device


def test_alone_nothing_is_exchanged() -> None:
    with join_processes(torch.device("cpu")) as processes:
        assert processes == Processes()
        assert processes.first
        assert (processes.broadcast(2.0), processes.total(3.0)) == (2.0, 3.0)
        parameter = nn.Parameter(torch.zeros(2))
        processes.sum_gradients([parameter])
        assert parameter.grad is None


def test_the_group_of_torchrun_is_joined_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"world": 2, "rank": 1}
    calls: list[str] = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed.dist, "is_initialized", lambda: False)
    monkeypatch.setattr(distributed.dist, "init_process_group", calls.append)
    monkeypatch.setattr(distributed.dist, "get_rank", lambda: sizes["rank"])
    monkeypatch.setattr(distributed.dist, "destroy_process_group", lambda: calls.append("left"))
    with join_processes(torch.device("cpu")) as processes:
        assert (processes.rank, processes.world, processes.first) == (1, 2, False)
    assert calls == ["gloo", "left"]


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert local_device(torch.device("cuda")) == torch.device("cuda", 1)
    assert local_device(torch.device("cuda", 0)) == torch.device("cuda", 0)
    assert local_device(torch.device("cpu")) == torch.device("cpu")
