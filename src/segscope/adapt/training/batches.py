"""Batches: the examples of each step, drawn at once or prepared by threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from segscope.adapt.data.sampler import Example, Sampler
from segscope.adapt.training.distributed import Processes

AHEAD = 3
"""Steps whose examples are prepared at a time, the current one included."""

DrawBatch = Callable[[int], list[Example]]
"""Gives this process's examples of a step."""


@dataclass(frozen=True)
class Batches:
    """This process's share of each batch.

    Attributes:
        sampler: draws the examples.
        processes: the processes of the run.
    """

    sampler: Sampler
    processes: Processes

    @property
    def places(self) -> range:
        """This process's places of a batch."""
        return range(self.processes.rank, self.sampler.places, self.processes.world)

    def draw(self, step: int) -> list[Example]:
        """The examples of a step; all randomness follows from the step alone."""
        self.seed(step)
        return [self.sampler.example(step, place) for place in self.places]

    def seed(self, step: int) -> None:
        """Seed torch's generator for a step."""
        seed = self.sampler.settings.seed
        torch.manual_seed(hash((seed, step, self.processes.rank)) % 2**63)

    @contextmanager
    def prepare(self, steps: int) -> Iterator[DrawBatch]:
        """Examples by step, of a run of `steps`; threads prepare the next ones where there are
        workers.
        """
        workers = self.sampler.settings.workers
        if not workers:
            yield self.draw
            return
        with ThreadPoolExecutor(workers, "segscope-examples") as pool:
            prefetch = _Prefetch(pool, self, steps)
            try:
                yield prefetch.draw
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


class _Prefetch:
    """Examples of the current and the next steps, prepared by threads."""

    def __init__(self, pool: ThreadPoolExecutor, batches: Batches, steps: int) -> None:
        self._pool = pool
        self._batches = batches
        self._steps = steps
        self._pending: dict[int, list[Future[Example]]] = {}

    def draw(self, step: int) -> list[Example]:
        """The examples of a step; those of the next steps are started."""
        self._batches.seed(step)
        for coming in range(step, min(step + AHEAD, self._steps)):
            if coming not in self._pending:
                self._pending[coming] = self._submit(coming)
        return list(map(Future.result, self._pending.pop(step)))

    def _submit(self, step: int) -> list[Future[Example]]:
        draw = self._batches.sampler.example
        return [self._pool.submit(draw, step, place) for place in self._batches.places]
