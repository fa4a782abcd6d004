"""ProcessGroup: several processes that train one network, as `torchrun` starts them; or one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """This process among all.

    Attributes:
        rank: number of this process; 0 validates, saves and speaks.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum gradients over all processes, each of which has divided by the whole batch.

        A parameter without gradient everywhere stays without one, so that the optimiser leaves it
        alone as it would in one process.
        """
        if self.world == 1:
            return
        held = list(parameters)
        device = held[0].device
        there = torch.tensor([float(item.grad is not None) for item in held], device=device)
        dist.all_reduce(there)
        used = [item for item, any_there in zip(held, there.tolist(), strict=True) if any_there]
        for group in _buckets(used):
            parts = [torch.zeros_like(item) if item.grad is None else item.grad for item in group]
            flat = torch.cat([part.flatten() for part in parts])
            dist.all_reduce(flat)
            sums = flat.split([item.numel() for item in group])
            for item, part in zip(group, sums, strict=True):
                item.grad = part.view_as(item).clone()

    def agree(self, value: float) -> float:
        """The first process's value, in all."""
        if self.world == 1:
            return value
        held = torch.tensor(
            [value], dtype=torch.float64, device="cuda" if dist.get_backend() == "nccl" else "cpu"
        )
        dist.broadcast(held, 0)
        return float(held)

    def total(self, value: float) -> float:
        """The sum of all processes' values."""
        if self.world == 1:
            return value
        held = torch.tensor(
            [value], dtype=torch.float64, device="cuda" if dist.get_backend() == "nccl" else "cpu"
        )
        dist.all_reduce(held)
        return float(held)


def _buckets(parameters: list[nn.Parameter], most: int = 2**24) -> Iterator[list[nn.Parameter]]:
    """Parameters in groups of up to `most` numbers: one message for each of many small ones would
    cost more.
    """
    group: list[nn.Parameter] = []
    size = 0
    for item in parameters:
        if group and size + item.numel() > most:
            yield group
            group = []
            size = 0
        group.append(item)
        size += item.numel()
    if group:
        yield group


@contextlib.contextmanager
def ranks(device: torch.device) -> Iterator[ProcessGroup]:
    """This process's place, from what `torchrun` says in the environment."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1 or dist.is_initialized():
        yield (
            ProcessGroup(dist.get_rank(), dist.get_world_size())
            if dist.is_initialized()
            else ProcessGroup()
        )
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield ProcessGroup(dist.get_rank(), world)
    finally:
        dist.destroy_process_group()


def local_device(device: torch.device) -> torch.device:
    """The GPU of this process where there are several."""
    if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device
