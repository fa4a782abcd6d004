"""Run: series of data sets in several orders, in several processes, and resumable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segscope.errors import UsageError
from segscope.evaluate.results_log import ResultsLog, Row
from segscope.evaluate.run import (
    LOG,
    EvaluationSettings,
    describe_machine,
    ignore_progress,
    list_leaks,
    make_folder,
    select_cases,
    write_results,
)
from segscope.evaluate.series.annotator import SeriesTask, run_series
from segscope.evaluate.series.images import Series, list_series
from segscope.evaluate.series.summary import SeriesSummary, summarise_series
from segscope.evaluate.workers import Load, Progress, Worker, measure
from segscope.models.engine import Engine
from segscope.models.segmenter import Segmenter

LEAST_IMAGES = 5  # of a series: three to learn from first, and two more


@dataclass(frozen=True, slots=True)
class SeriesSettings:
    """How series are made.

    Attributes:
        evaluation: data sets, models and protocol.
        orders: in which each series is annotated, from scratch each time.
        images: of a series at most.
    """

    evaluation: EvaluationSettings
    orders: int = 3
    images: int = 20

    def check(self) -> None:
        """Raise UsageError for a protocol or numbers with which there are no series."""
        self.evaluation.check()
        if self.orders < 1:
            raise UsageError(f"orders must be 1 or more, got {self.orders}")
        if self.images < LEAST_IMAGES:
            raise UsageError(f"a series has {LEAST_IMAGES} images or more, got {self.images}")
        protocol = self.evaluation.protocol
        plans = protocol.image.prompts
        if not plans or any(plan.opening == "everything" for plan in plans):
            raise UsageError(
                f"the protocol {protocol.name!r} has {', '.join(map(str, plans)) or 'no prompts'} "
                "for images; series take prompts of one object, such as box and clicks:20"
            )

    def header(self, engines: Mapping[str, Engine | Segmenter]) -> dict[str, Any]:
        """Plain values that identify an evaluation, for its log and its summary."""
        header = self.evaluation.header(engines)
        return {**header, "series": {"orders": self.orders, "images": self.images}}


@dataclass(frozen=True, slots=True)
class SeriesEvaluation:
    """Results of series.

    Attributes:
        rows: one for each model, series, order, image and prompt, without and with learning.
        summary: see `segscope.evaluate.series.summary`.
        folder: of rows.csv, rows.parquet, summary.json and the log of results.
    """

    rows: list[Row]
    summary: SeriesSummary
    folder: Path


def evaluate_series(
    settings: SeriesSettings,
    out: Path | str,
    load: Load,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> SeriesEvaluation:
    """Annotate the images of data sets one after the other, without and with learning.

    The figures depend on neither the number of workers nor an interruption.

    Args:
        settings: data sets, models and protocol; number of orders and of images.
        out: folder for the results; an interrupted evaluation with the same settings is resumed.
        load: loads the engine of a model, as for `segscope.evaluate.run.evaluate`.
        workers: number of processes.
        progress: called with (series done, series to do), each order of a series being one.

    Raises:
        UsageError: nothing to do, or `out` holds another evaluation.
        SegscopeError: a model that cannot be loaded, or a case that cannot be read.
    """
    if workers < 1:
        raise UsageError(f"workers must be 1 or more, got {workers}")
    settings.check()
    models = settings.evaluation.models
    engines = {model: load(model) for model in models}
    _check_engines(engines)
    header = settings.header(engines)
    folder = make_folder(Path(out).expanduser())
    log = ResultsLog(folder / LOG, header)
    tasks = [
        SeriesTask(model, series, order)
        for series in _list_series(settings)
        for order in range(settings.orders)
        for model in models
    ]
    protocol = settings.evaluation.protocol
    worker = Worker(load, protocol, run_series, engines)
    measure(tasks, worker, log, workers, progress or ignore_progress)
    rows = [row for task in tasks for row in log.done[task.key]]
    warnings: list[str] = []
    for engine in engines.values():
        warnings += list_leaks(settings.evaluation.datasets, engine)
    summary = summarise_series(rows, header, warnings, describe_machine())
    write_results(folder, rows, summary.as_dict())
    return SeriesEvaluation(rows, summary, folder)


def _check_engines(engines: Mapping[str, Engine | Segmenter]) -> None:
    for name, engine in engines.items():
        if isinstance(engine, Segmenter):
            raise UsageError(
                f"{name} segments without prompts; series are for models that are prompted"
            )


def _list_series(settings: SeriesSettings) -> list[Series]:
    """All series with enough images."""
    evaluation = settings.evaluation
    series: list[Series] = []
    for dataset in evaluation.datasets:
        cases = select_cases(dataset, evaluation.split, evaluation.max_cases)
        if cases:
            series += list_series(dataset, cases, evaluation.protocol, settings.images)
    long_enough = [each for each in series if len(each.images) >= LEAST_IMAGES]
    if long_enough:
        return long_enough
    lengths = ", ".join(f"{each.dataset} {each.label}: {len(each.images)}" for each in series)
    raise UsageError(
        f"no class has {LEAST_IMAGES} images with an object of at least "
        f"{evaluation.protocol.least_pixels} pixels ({lengths or 'there are none'}); name a larger "
        "data set, or lower least_pixels in a protocol of your own"
    )
