"""Run: models on data sets by a protocol, in several processes, resumable; the figures depend on
none of that.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from segscope._optional import require
from segscope._version import __version__
from segscope.errors import SegscopeError, UsageError
from segscope.evaluate.case_runner import Task, chance, run_task
from segscope.evaluate.protocol import Protocol
from segscope.evaluate.results_log import Ledger, Row
from segscope.evaluate.summary import Summary, summarise
from segscope.files import atomic
from segscope.io.datasets.reading import Case, DataSet
from segscope.models.engine import Engine
from segscope.models.identity import engine_identity
from segscope.models.segmenter import Segmenter

Load = Callable[[str], Engine | Segmenter]
Progress = Callable[[int, int], None]
LEDGER = "rows.jsonl"
TABLE = "rows.csv"
PARQUET = "rows.parquet"
SUMMARY = "summary.json"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured.

    Attributes:
        rows: one for each model, case, object, prompt, seed and round.
        summary: see `segscope.evaluate.summary`.
        folder: where rows.csv, rows.parquet, summary.json and the ledger lie.
    """

    rows: list[Row]
    summary: Summary
    folder: Path


def evaluate(
    datasets: Sequence[DataSet],
    models: Sequence[str],
    protocol: Protocol,
    out: Path | str,
    load: Load,
    *,
    workers: int = 1,
    split: str | None = None,
    cases: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Judge models on data sets.

    Every prompt follows from the seed, the case, the object and the plan, and every process
    computes with one thread on the CPU, so the figures are the same for any number of workers, any
    order, and after an interruption.

    Args:
        datasets: from `segscope.io.datasets.reading.datasets`.
        models: names or paths that `load` knows.
        protocol: what is asked; see `read_protocol`.
        out: folder for the results; an interrupted evaluation of the same settings goes on there.
        load: gives the engine of a model; `segscope.load`. It is called in each worker, so it must
            be importable.
        workers: processes.
        split: only cases of this split ("train", "val", "test").
        cases: at most so many cases of a set, evenly spaced in its order; 0 for all.
        progress: called with (cases done, cases to do).

    Raises:
        UsageError: nothing to do, or `out` holds another evaluation.
        SegscopeError: a model that cannot be loaded.
    """
    if workers < 1:
        raise UsageError(f"workers is 1 or more, got {workers}")
    repeated = {model for model in models if list(models).count(model) > 1}
    if not models or repeated:
        raise UsageError(
            f"name each model once, and at least one; got {', '.join(models) or 'none'}"
        )
    tasks = [
        Task(model, dataset.name, case, _examples(dataset, case, protocol))
        for dataset in datasets
        for case in _chosen(dataset, split, cases)
        for model in models
    ]
    if not tasks:
        which = ""
        if split:
            which = f" of split {split}"
        raise UsageError(
            f"no cases with a truth{which} in {', '.join(d.name for d in datasets) or 'the data'}"
        )
    engines = {model: load(model) for model in models}
    folder = Path(out).expanduser()
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder for the results")
    folder.mkdir(parents=True, exist_ok=True)
    header = {
        "protocol": protocol.as_dict(),
        "models": {model: engine_identity(engine) for model, engine in engines.items()},
        "split": split,
        "cases": cases,
        "datasets": {dataset.name: len(dataset.cases) for dataset in datasets},
        "versions": versions(),
    }
    ledger = Ledger(folder / LEDGER, header)
    todo = sorted(
        (task for task in tasks if task.key not in ledger.done), key=_weight, reverse=True
    )
    _work(todo, engines, protocol, ledger, load, workers, progress, len(tasks))
    wanted = {task.key for task in tasks}
    rows = [row for key in sorted(wanted) for row in ledger.done[key]]
    warnings = [text for model in models for text in leaks(datasets, engines[model])]
    summary = summarise(rows, header, warnings, machine())
    _write(folder, rows, summary)
    return Evaluation(rows, summary, folder)


def _chosen(dataset: DataSet, split: str | None, most: int) -> list[Case]:
    found = [case for case in dataset.cases if case.targets and split in (None, case.split)]
    if not most or len(found) <= most:
        return found
    return [found[round(index * (len(found) - 1) / max(most - 1, 1))] for index in range(most)]


def _examples(dataset: DataSet, case: Case, protocol: Protocol) -> tuple[Case, ...]:
    """Training cases of other patients for prompts in context, by chance that follows from the set."""
    if not protocol.image.context:
        return ()
    known = [other for other in dataset.cases if other.targets and other.split == "train"]
    order = chance(protocol.seed, dataset.name, "context").permutation(len(known)).tolist()
    others = [known[index] for index in order if known[index].group != case.group]
    return tuple(others[: protocol.image.context])


def _weight(task: Task) -> int:
    """Bytes of the input: long cases come first, so that no worker is left alone with one at the
    end.
    """
    path = task.case.image
    return sum(
        file.stat().st_size
        for file in (path.rglob("*") if path.is_dir() else [path])
        if file.is_file()
    )


def leaks(datasets: Sequence[DataSet], engine: Engine | Segmenter) -> list[str]:
    """Why figures of a model may be too good: the data sets that it was trained on."""
    known = {_plain(name) for name in engine.card.trained_on}
    seen = [dataset.name for dataset in datasets if _plain(dataset.name) in known]
    if not seen:
        return []
    return [
        f"{engine.card.name} was trained on {', '.join(seen)}: figures there say nothing about new data. Cases of the "
        "split `train` were seen; take --split val or test, or other data"
    ]


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


# --- the work ------------------------------------------------------------------------------------

_worker: dict[str, Any] = {}


def _prepare(load: Load, protocol: Protocol, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    _worker.update(load=load, protocol=protocol, engines={})


def _do(task: Task) -> list[Row]:
    engines = _worker["engines"]
    if task.model not in engines:
        engines[task.model] = _worker["load"](task.model)
    return run_task(task, engines[task.model], _worker["protocol"])


def _work(
    todo: Sequence[Task],
    engines: dict[str, Engine | Segmenter],
    protocol: Protocol,
    ledger: Ledger,
    load: Load,
    workers: int,
    progress: Progress | None,
    total: int,
) -> None:
    """Measure what is missing; each case is in the ledger before the next is reported."""
    done = total - len(todo)
    if progress is not None:
        progress(done, total)
    if workers == 1 or len(todo) < 2:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for task in todo:
                ledger.append(task.key, run_task(task, engines[task.model], protocol))
                done += 1
                if progress is not None:
                    progress(done, total)
        finally:
            torch.set_num_threads(before)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(workers, len(todo)), context, _prepare, (load, protocol, 1)
    ) as pool:
        waiting: dict[Future[list[Row]], Task] = {pool.submit(_do, task): task for task in todo}
        try:
            for future in as_completed(waiting):
                ledger.append(waiting[future].key, future.result())
                done += 1
                if progress is not None:
                    progress(done, total)
        except BrokenProcessPool as error:
            raise SegscopeError(
                f"a worker died, most likely for want of memory; {done} of {total} cases are kept. Run the command "
                "again with fewer --workers; it goes on where it was"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


# --- results -------------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """What computed the figures."""
    packages = ("torch", "transformers", "numpy", "scipy")
    return {"segscope": __version__, **{name: metadata.version(name) for name in packages}}


def machine() -> dict[str, Any]:
    """Where they were computed."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
    }


def _write(folder: Path, rows: Sequence[Row], summary: Summary) -> None:
    columns = _columns(rows)
    with atomic(folder / TABLE) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(
            {key: "" if value != value else value for key, value in row.items()} for row in rows
        )
    arrow = require("pyarrow", "report", "write Parquet")
    parquet = require("pyarrow.parquet", "report", "write Parquet")
    table = arrow.table({column: [row.get(column) for row in rows] for column in columns})
    with atomic(folder / PARQUET) as part:
        parquet.write_table(table, part)
    with atomic(folder / SUMMARY) as part:
        part.write_text(json.dumps(summary.as_dict(), indent=1) + "\n", encoding="utf-8")


def _columns(rows: Iterable[Row]) -> list[str]:
    """All columns, in the order in which rows bring them."""
    return list(dict.fromkeys(column for row in rows for column in row))
