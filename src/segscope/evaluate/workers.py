"""Workers: tasks measured in this process or in several, each with one thread, into a log."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from segscope.errors import SegscopeError
from segscope.evaluate import protocol as protocols
from segscope.evaluate.results_log import ResultsLog, Row
from segscope.models.engine import Engine
from segscope.models.segmenter import Segmenter

Load = Callable[[str], Engine | Segmenter]
Progress = Callable[[int, int], None]


class AnyTask(Protocol):
    """What is measured as a whole."""

    @property
    def key(self) -> str:
        """Identity in the log."""

    @property
    def model(self) -> str: ...

    @property
    def files(self) -> Sequence[Path]:
        """Files or folders that it reads."""


T = TypeVar("T", bound=AnyTask)


@dataclass(slots=True)
class Worker(Generic[T]):
    """What a process needs besides its tasks; engines are loaded when first used.

    Attributes:
        load: loads the engine of a model; importable, for other processes.
        protocol: how tasks are measured.
        run_task: measures one; importable.
        engines: that are loaded.
    """

    load: Load
    protocol: protocols.Protocol
    run_task: Callable[[T, Any, protocols.Protocol], list[Row]]
    engines: dict[str, Engine | Segmenter] = field(default_factory=dict)

    def run(self, task: T) -> list[Row]:
        if task.model not in self.engines:
            self.engines[task.model] = self.load(task.model)
        return self.run_task(task, self.engines[task.model], self.protocol)


def measure(
    tasks: Sequence[T], worker: Worker[T], log: ResultsLog, workers: int, progress: Progress
) -> None:
    """Measure what is missing; each task is in the log before the next is reported.

    Raises:
        SegscopeError: a process died.
    """
    missing = [task for task in tasks if task.key not in log.done]
    missing.sort(key=_input_bytes, reverse=True)
    done = len(tasks) - len(missing)
    progress(done, len(tasks))
    if workers == 1 or len(missing) < 2:
        results = _run_here(missing, worker)
    else:
        results = _run_in_pool(missing, replace(worker, engines={}), min(workers, len(missing)))
    try:
        for task, rows in results:
            log.append(task.key, rows)
            done += 1
            progress(done, len(tasks))
    except BrokenProcessPool as error:
        raise SegscopeError(
            f"a worker process died, most likely because memory ran out; {done} of {len(tasks)} "
            "cases are saved. Run the command again with fewer --workers to resume"
        ) from error


def _input_bytes(task: AnyTask) -> int:
    """Size of the input. Large tasks come first, so that no worker ends alone with one of them."""
    total = 0
    for path in task.files:
        files = [path]
        if path.is_dir():
            files = list(path.rglob("*"))
        total += sum(file.stat().st_size for file in files if file.is_file())
    return total


def _run_here(tasks: Sequence[T], worker: Worker[T]) -> Iterator[tuple[T, list[Row]]]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for task in tasks:
            yield task, worker.run(task)
    finally:
        torch.set_num_threads(threads)


_process_worker: list[Worker[Any]] = []


def _start_worker(worker: Worker[Any]) -> None:
    import torch

    torch.set_num_threads(1)
    _process_worker[:] = [worker]


def _run_in_worker(task: AnyTask) -> list[Row]:
    return _process_worker[0].run(task)


def _run_in_pool(
    tasks: Sequence[T], worker: Worker[T], workers: int
) -> Iterator[tuple[T, list[Row]]]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (worker,)) as pool:
        pending = {pool.submit(_run_in_worker, task): task for task in tasks}
        try:
            for future in as_completed(pending):
                yield pending[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
