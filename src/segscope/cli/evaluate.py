"""`segscope evaluate`: models, prompts and data sets to metrics and a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segscope.cli import console
from segscope.cli.options import Device, DeviceOption, JsonOption, expand_options
from segscope.errors import UsageError
from segscope.threads import usable_cores

if TYPE_CHECKING:
    from segscope.evaluate.protocol import Protocol
    from segscope.evaluate.run import EvaluationSettings
    from segscope.evaluate.series.summary import SeriesSummary
    from segscope.evaluate.summary import Summary
    from segscope.evaluate.workers import Load
    from segscope.io.datasets.dataset import DataSet

DEFAULT_PROMPTS = ("box", "clicks:5")
SERIES_PROTOCOL = "series"
SPLITS = ("train", "val", "test")
MAX_FAILURES = 5  # printed; the report has all


@dataclass(frozen=True, slots=True)
class ProtocolOptions:
    """Which prompts are simulated, and what is scored."""

    prompt: Annotated[
        list[str],
        typer.Option(
            metavar="PLAN",
            help="Simulated prompts: box, box.jitter, points:3, clicks:5, scribble, mask, "
            "everything, box+clicks:3, box@largest ...; repeatable. Default: box and clicks:5.",
        ),
    ] = field(default_factory=list)
    protocol: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE.toml", help="A published protocol, or a file of your own."),
    ] = None
    max_objects: Annotated[
        int | None,
        typer.Option(
            min=0, help="At most this many objects per case; 0 for all. Default: by protocol."
        ),
    ] = None
    seed: Annotated[
        int | None, typer.Option(help="Random seed. Default: that of the protocol, or 0.")
    ] = None
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of random seeds per stochastic prompt. Default: by protocol."
        ),
    ] = None

    def read(self, default_protocol: str | None = None) -> Protocol:
        """The protocol with these options.

        Args:
            default_protocol: name of the one that is used where none is named.
        """
        from segscope.evaluate.protocol import default, read_protocol

        name = self.protocol or default_protocol
        if name is None:
            protocol = default(self.prompt or list(DEFAULT_PROMPTS))
        else:
            protocol = read_protocol(name)
            if self.prompt:
                protocol = protocol.with_prompts(self.prompt)
        settings = {"seed": self.seed, "seeds": self.seeds, "objects": self.max_objects}
        changes: dict[str, Any] = {}
        for name, value in settings.items():
            if value is not None:
                changes[name] = value
        return replace(protocol, **changes)


@dataclass(frozen=True, slots=True)
class CaseOptions:
    """Which cases are evaluated."""

    data: Annotated[
        list[Path], typer.Option(metavar="DATASET", help="A data set, like DATASET; repeatable.")
    ] = field(default_factory=list)
    only: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help="Only data sets whose name contains this; repeatable. Useful with a folder of "
            "several data sets.",
        ),
    ] = field(default_factory=list)
    split: Annotated[
        str | None, typer.Option(help="Only cases of this split: train, val or test.")
    ] = None
    max_cases: Annotated[
        int, typer.Option(min=0, help="At most this many cases per data set; 0 for all.")
    ] = 0

    def check(self) -> None:
        """Refuse a split that does not exist."""
        if self.split is not None and self.split not in SPLITS:
            raise UsageError(f"--split must be train, val or test; got {self.split!r}")

    def read_sets(self, paths: Sequence[Path]) -> list[DataSet]:
        """The data sets at some paths that `only` selects.

        Raises:
            UsageError: none of them.
        """
        from segscope.io.datasets.reading import read_datasets

        sets = list(chain.from_iterable(map(read_datasets, paths)))
        if not self.only:
            return sets
        selected = [each for each in sets if any(name in each.name for name in self.only)]
        if not selected:
            raise UsageError(
                f"no data set has {' or '.join(self.only)} in its name; there are: "
                f"{', '.join(each.name for each in sets)}"
            )
        return selected


@dataclass(frozen=True, slots=True)
class SeriesOptions:
    """Whether images are annotated one after the other, learning from those before."""

    series: Annotated[
        bool,
        typer.Option(
            "--series",
            help="Annotate the images of each class one after the other, without learning and "
            "with what was accepted before.",
        ),
    ] = False
    orders: Annotated[
        int, typer.Option(min=1, help="Orders in which a series is annotated; with --series.")
    ] = 3
    images: Annotated[
        int, typer.Option(min=5, help="At most this many images of a series; with --series.")
    ] = 20


@expand_options
def evaluate(
    cases: CaseOptions,
    plan: ProtocolOptions,
    series: SeriesOptions,
    datasets: list[Path] | None = typer.Argument(
        None, metavar="DATASET", help="Folders or lists of data sets."
    ),
    model: list[str] = typer.Option(
        ["mini"], metavar="MODEL", help="Model, checkpoint file or adaptation folder; repeatable."
    ),
    out: Path | None = typer.Option(None, "--out", "-o", help="Output folder. Required."),
    workers: int = typer.Option(
        0, min=0, help="Worker processes; 0 for one per CPU core, or one on a GPU."
    ),
    device: DeviceOption = Device.auto,
    list_protocols: bool = typer.Option(
        False, "--list", help="List the built-in protocols and exit."
    ),
    as_json: JsonOption = False,
) -> None:
    """Evaluate models on data sets with masks, using simulated prompts.

    --out receives a report (report.html, one file that works offline), all measurements (rows.csv,
    rows.parquet) and means with confidence intervals (summary.json). Run the same command again to
    continue an interrupted evaluation. With --series, the report shows what learning from accepted
    images saves.
    """
    if list_protocols:
        _list_protocols(as_json)
        return
    paths = [*(datasets or ()), *cases.data]
    if not paths:
        raise UsageError(
            "no data set: name at least one, such as a folder with dataset.json or an nnU-Net "
            "folder"
        )
    if out is None:
        raise UsageError("no output folder: give one, for example --out report")
    cases.check()
    default_protocol = None
    if series.series:
        default_protocol = SERIES_PROTOCOL
    command = Evaluate(
        paths,
        model,
        plan.read(default_protocol),
        out,
        cases,
        workers=workers,
        device=device.value,
        as_json=as_json,
    )
    if series.series:
        command.run_series(series)
    else:
        command.run()


@dataclass(frozen=True, slots=True)
class Evaluate:
    """One run of `segscope evaluate`."""

    datasets: Sequence[Path]
    models: list[str]
    protocol: Protocol
    out: Path
    cases: CaseOptions = field(default_factory=CaseOptions)
    workers: int = 0
    device: str = "auto"
    as_json: bool = False

    def run(self) -> None:
        """Evaluate, write the report and print the summary.

        Raises:
            typer.Exit: some cases failed.
        """
        from segscope.evaluate.report import write_report
        from segscope.evaluate.run import evaluate as run_evaluation

        settings = self._settings()
        load_model = self._loader()
        with console.progress("evaluating", quiet=self.as_json) as advance:
            result = run_evaluation(
                settings, self.out, load_model, workers=self._workers(), progress=advance
            )
        report = write_report(result, settings, load_model)
        self._print_result(result.summary, report)
        if result.summary.failed:
            raise typer.Exit(1)

    def run_series(self, options: SeriesOptions) -> None:
        """Annotate series, write the report and print the summary.

        Raises:
            typer.Exit: some series failed.
        """
        from segscope.evaluate.series.report import write_series_report
        from segscope.evaluate.series.run import SeriesSettings, evaluate_series

        settings = SeriesSettings(self._settings(), options.orders, options.images)
        with console.progress("annotating", quiet=self.as_json) as advance:
            result = evaluate_series(
                settings, self.out, self._loader(), workers=self._workers(), progress=advance
            )
        report = write_series_report(result, settings)
        self._print_result(result.summary, report)
        if result.summary.failed:
            raise typer.Exit(1)

    def _settings(self) -> EvaluationSettings:
        from segscope.evaluate.run import EvaluationSettings

        sets = self.cases.read_sets(self.datasets)
        return EvaluationSettings(
            sets, self.models, self.protocol, self.cases.split, self.cases.max_cases
        )

    def _loader(self) -> Load:
        from segscope.load import load

        return partial(load, device=self.device)

    def _workers(self) -> int:
        return self.workers or default_workers(self.device)

    def _print_result(self, summary: Summary | SeriesSummary, report: Path) -> None:
        if self.as_json:
            console.print_json({"report": str(report), **summary.as_dict()})
            return
        for line in summary.say():
            console.print_line(line)
        for warning in summary.warnings:
            console.print_line(f"warning: {warning}")
        for row in summary.failed[:MAX_FAILURES]:
            console.print_line(
                f"failed: {row['dataset']} / {row['case']} ({row['model']}): {row['failed']}"
            )
        console.print_line(f"report: {report}")


def _list_protocols(as_json: bool) -> None:
    from segscope.evaluate.protocol import names, read_protocol

    protocols = {name: read_protocol(name) for name in names()}
    if as_json:
        console.print_json({name: protocol.as_dict() for name, protocol in protocols.items()})
        return
    for name, protocol in protocols.items():
        source = ""
        if protocol.source:
            source = f" ({protocol.source})"
        console.print_line(f"{name:<22} {protocol.name}{source}")


def default_workers(device: str) -> int:
    """One per CPU core, each with one thread; one on a GPU."""
    import torch

    on_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    if on_cpu:
        return usable_cores()
    return 1
