"""Run: models on data sets by a protocol, in several processes, and resumable.

The figures depend on neither the number of processes nor an interruption.
"""

from __future__ import annotations

import csv
import json
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

from segscope._optional import require
from segscope._version import __version__
from segscope.errors import UsageError
from segscope.evaluate.case_runner import Task, run_task, seeded_generator
from segscope.evaluate.protocol import Protocol
from segscope.evaluate.results_log import ResultsLog, Row
from segscope.evaluate.summary import Summary, summarise
from segscope.evaluate.workers import Load, Progress, Worker, measure
from segscope.files import atomic
from segscope.io.datasets.dataset import Case, DataSet
from segscope.models.engine import Engine, engine_identity
from segscope.models.segmenter import Segmenter

LOG = "rows.jsonl"
TABLE = "rows.csv"
PARQUET = "rows.parquet"
SUMMARY = "summary.json"


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """What is evaluated, and how.

    Attributes:
        datasets: from `segscope.io.datasets.reading.datasets`.
        models: names or paths of models.
        protocol: prompts and metrics; see `read_protocol`.
        split: only cases of this split ("train", "val", "test").
        max_cases: at most this many cases of a set, evenly spaced in its order; 0 for all.
    """

    datasets: Sequence[DataSet]
    models: Sequence[str]
    protocol: Protocol
    split: str | None = None
    max_cases: int = 0

    def check(self) -> None:
        """Raise UsageError unless there is a model, and none twice."""
        if not self.models or len(set(self.models)) < len(self.models):
            names = ", ".join(self.models) or "none"
            raise UsageError(f"name at least one model, and each only once; got {names}")

    def header(self, engines: Mapping[str, Engine | Segmenter]) -> dict[str, Any]:
        """Plain values that identify an evaluation, for its log and its summary."""
        return {
            "protocol": self.protocol.as_dict(),
            "models": {model: engine_identity(engine) for model, engine in engines.items()},
            "split": self.split,
            "cases": self.max_cases,
            "datasets": {dataset.name: len(dataset.cases) for dataset in self.datasets},
            "versions": list_versions(),
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Results of an evaluation.

    Attributes:
        rows: one for each model, case, object, prompt, seed and round.
        summary: see `segscope.evaluate.summary`.
        folder: folder of rows.csv, rows.parquet, summary.json and the log of results.
    """

    rows: list[Row]
    summary: Summary
    folder: Path


def evaluate(
    settings: EvaluationSettings,
    out: Path | str,
    load: Load,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate models on data sets.

    Every prompt is determined by the seed, the case, the object and the plan, and every process
    computes with one thread on the CPU, so the figures are the same for any number of workers, any
    order, and after an interruption.

    Args:
        settings: data sets, models (names or paths that `load` knows) and protocol.
        out: folder for the results; an interrupted evaluation with the same settings is resumed.
        load: loads the engine of a model, for instance `segscope.load`. It is called in each
            worker, so it must be importable.
        workers: number of processes.
        progress: called with (cases done, cases to do).

    Raises:
        UsageError: nothing to do, or `out` holds another evaluation.
        SegscopeError: a model that cannot be loaded.
    """
    if workers < 1:
        raise UsageError(f"workers must be 1 or more, got {workers}")
    settings.check()
    tasks = _list_tasks(settings)
    engines = {model: load(model) for model in settings.models}
    folder = make_folder(Path(out).expanduser())
    header = settings.header(engines)
    log = ResultsLog(folder / LOG, header)
    worker = Worker(load, settings.protocol, run_task, engines)
    measure(tasks, worker, log, workers, progress or ignore_progress)
    keys = sorted({task.key for task in tasks})
    rows = [row for key in keys for row in log.done[key]]
    warnings: list[str] = []
    for model in settings.models:
        warnings += list_leaks(settings.datasets, engines[model])
    summary = summarise(rows, header, warnings, describe_machine())
    write_results(folder, rows, summary.as_dict())
    return Evaluation(rows, summary, folder)


def ignore_progress(_done: int, _total: int) -> None:
    pass


def make_folder(folder: Path) -> Path:
    """The folder of the results."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder for the results")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _list_tasks(settings: EvaluationSettings) -> list[Task]:
    tasks = []
    for dataset in settings.datasets:
        for case in select_cases(dataset, settings.split, settings.max_cases):
            examples = _context_examples(dataset, case, settings.protocol)
            tasks += [Task(model, dataset.name, case, examples) for model in settings.models]
    if tasks:
        return tasks
    where = ", ".join(dataset.name for dataset in settings.datasets) or "the data"
    if settings.split:
        raise UsageError(f"no cases of split {settings.split} with ground truth in {where}")
    raise UsageError(f"no cases with ground truth in {where}")


def select_cases(dataset: DataSet, split: str | None, max_cases: int) -> list[Case]:
    """Cases with ground truth, of a split, at most so many of them; 0 for all."""
    cases = [case for case in dataset.cases if case.targets and split in (None, case.split)]
    if not max_cases or len(cases) <= max_cases:
        return cases
    step = (len(cases) - 1) / max(max_cases - 1, 1)
    return [cases[round(index * step)] for index in range(max_cases)]


def _context_examples(dataset: DataSet, case: Case, protocol: Protocol) -> tuple[Case, ...]:
    """Training cases of other patients for prompts in context, shuffled by a seed of the set."""
    if not protocol.image.context:
        return ()
    training = [other for other in dataset.cases if other.targets and other.split == "train"]
    rng = seeded_generator(protocol.seed, dataset.name, "context")
    shuffled = [training[index] for index in rng.permutation(len(training)).tolist()]
    others = [other for other in shuffled if other.group != case.group]
    return tuple(others[: protocol.image.context])


def list_leaks(datasets: Sequence[DataSet], engine: Engine | Segmenter) -> list[str]:
    """Warnings about data sets that a model was trained on."""
    trained_on = set(map(_normalise, engine.card.trained_on))
    leaked = [dataset.name for dataset in datasets if _normalise(dataset.name) in trained_on]
    if not leaked:
        return []
    return [
        f"{engine.card.name} was trained on {', '.join(leaked)}: its figures there do not predict "
        "those on new data. Cases of the split `train` were used for training; evaluate with "
        "--split val or test, or on other data"
    ]


def _normalise(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


# --- results -------------------------------------------------------------------------------------


def list_versions() -> dict[str, str]:
    """Versions of the packages that the figures depend on."""
    packages = ("torch", "transformers", "numpy", "scipy")
    return {"segscope": __version__, **{name: metadata.version(name) for name in packages}}


def describe_machine() -> dict[str, str | int | None]:
    """The machine that the figures were computed on."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
    }


def write_results(folder: Path, rows: Sequence[Row], summary: Mapping[str, Any]) -> None:
    """Write rows as CSV and Parquet, and the summary as JSON."""
    columns = _list_columns(rows)
    with atomic(folder / TABLE) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(map(_blank_nan, rows))
    arrow = require("pyarrow", "report", "write Parquet")
    parquet = require("pyarrow.parquet", "report", "write Parquet")
    table = arrow.table({column: [row.get(column) for row in rows] for column in columns})
    with atomic(folder / PARQUET) as part:
        parquet.write_table(table, part)
    with atomic(folder / SUMMARY) as part:
        part.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def _blank_nan(row: Row) -> Row:
    """The row with NaN as an empty cell."""
    cells = dict(row)
    for name, value in row.items():
        if isinstance(value, float) and math.isnan(value):
            cells[name] = ""
    return cells


def _list_columns(rows: Iterable[Row]) -> list[str]:
    """All columns, in the order of their first appearance."""
    return list(dict.fromkeys(chain.from_iterable(rows)))
