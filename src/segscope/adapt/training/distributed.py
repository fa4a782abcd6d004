"""Distributed training: several processes that train one network, as `torchrun` starts them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

BUCKET = 2**24
"""Gradients are summed in groups of up to this many values; one message for each of many small
tensors would cost more.
"""


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of a run, seen from this one.

    Attributes:
        rank: number of this process; number 0 validates, saves and reports.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum gradients over all processes, each of which has divided by the whole batch.

        A parameter that has no gradient in any process keeps none, so that the optimiser skips it
        as it would in a single process.
        """
        if self.world == 1:
            return
        every = list(parameters)
        device = every[0].device
        counts = torch.tensor([float(item.grad is not None) for item in every], device=device)
        dist.all_reduce(counts)
        used = [item for item, count in zip(every, counts.tolist(), strict=True) if count]
        for group in _bucket(used):
            _sum_group(group)

    def broadcast(self, value: float) -> float:
        """The first process's value, in every process."""
        if self.world == 1:
            return value
        shared = _number(value)
        dist.broadcast(shared, 0)
        return float(shared)

    def total(self, value: float) -> float:
        """The sum of the value over all processes."""
        if self.world == 1:
            return value
        shared = _number(value)
        dist.all_reduce(shared)
        return float(shared)


def _number(value: float) -> Tensor:
    """A number where the backend can exchange it."""
    device = "cpu"
    if dist.get_backend() == "nccl":
        device = "cuda"
    return torch.tensor([value], dtype=torch.float64, device=device)


def _sum_group(group: list[nn.Parameter]) -> None:
    """Sum the gradients of a group over all processes in one message."""
    gradients = []
    for item in group:
        gradient = torch.zeros_like(item) if item.grad is None else item.grad
        gradients.append(gradient.flatten())
    flat = torch.cat(gradients)
    dist.all_reduce(flat)
    sums = flat.split(list(map(Tensor.numel, group)))
    for item, part in zip(group, sums, strict=True):
        item.grad = part.view_as(item).clone()


def _bucket(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Parameters in groups of up to `BUCKET` values."""
    group: list[nn.Parameter] = []
    size = 0
    for item in parameters:
        if group and size + item.numel() > BUCKET:
            yield group
            group = []
            size = 0
        group.append(item)
        size += item.numel()
    if group:
        yield group


@contextlib.contextmanager
def join_processes(device: torch.device) -> Iterator[Processes]:
    """Join the processes that the environment variables of `torchrun` describe."""
    if dist.is_initialized():
        yield Processes(dist.get_rank(), dist.get_world_size())
        return
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes()
        return
    backend = "gloo"
    if device.type == "cuda":
        backend = "nccl"
    dist.init_process_group(backend)
    try:
        yield Processes(dist.get_rank(), world)
    finally:
        dist.destroy_process_group()


def local_device(device: torch.device) -> torch.device:
    """The GPU of this process where the machine has several."""
    if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device
