"""`segscope evaluate`: models, prompts and data sets in, figures and a report out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from segscope.cli import console
from segscope.cli.segment import Device
from segscope.errors import UsageError
from segscope.threads import usable_cores

if TYPE_CHECKING:
    from segscope.evaluate.protocol import Protocol
    from segscope.evaluate.run import Evaluation

PROMPTS = ["box", "clicks:5"]


def evaluate(
    datasets: list[Path] | None = typer.Argument(
        None, metavar="DATASET...", help="Folders or lists of data sets."
    ),
    model: list[str] = typer.Option(
        ["mini"], help="Model, checkpoint file or adaptation folder; may be repeated."
    ),
    prompt: list[str] | None = typer.Option(
        None,
        help="What is given: box, box.jitter, points:3, clicks:5, scribble, mask, everything, box+clicks:3, "
        "box@largest ...; may be repeated. Default: box and clicks:5.",
    ),
    protocol: str | None = typer.Option(
        None, metavar="NAME|FILE.toml", help="A published protocol, or your own file."
    ),
    out: Path | None = typer.Option(
        None, "--out", "-o", help="Folder for report.html, rows.csv, summary.json."
    ),
    split: str | None = typer.Option(None, help="Only cases of this split: train, val or test."),
    cases: int = typer.Option(0, min=0, help="At most so many cases of each set; 0 for all."),
    objects: int | None = typer.Option(
        None, min=0, help="At most so many objects of a case; 0 for all."
    ),
    kind: list[str] | None = typer.Option(
        None, help="Only sets with these words in their name; may be repeated."
    ),
    seed: int | None = typer.Option(
        None, help="All chance follows from it. Default: the protocol's, 0."
    ),
    seeds: int | None = typer.Option(None, min=1, help="Draws of prompts that hold chance."),
    workers: int = typer.Option(0, min=0, help="Processes; 0 for one a core, or one on a GPU."),
    device: Device = typer.Option(Device.auto, help="Where the networks run."),
    list_protocols: bool = typer.Option(
        False, "--list", help="List the protocols that come with segscope."
    ),
    as_json: bool = typer.Option(False, "--json", help="Result as JSON on stdout."),
) -> None:
    """Judge models on data with masks, with simulated prompts; an interrupted run goes on where it
    was.

    Writes a report for people (report.html, one file that works offline), every figure (rows.csv,
    rows.parquet) and means with intervals (summary.json).
    """
    if list_protocols:
        _list(as_json)
        return
    if not datasets:
        raise UsageError(
            "name at least one data set: a folder with dataset.json, an nnU-Net folder, a datalist ..."
        )
    if out is None:
        raise UsageError("name a folder for the results: --out report")
    if split not in (None, "train", "val", "test"):
        raise UsageError(f"--split is train, val or test, got {split!r}")
    changes = {"seed": seed, "seeds": seeds, "objects": objects}
    Evaluate(
        datasets,
        model,
        _protocol(
            protocol, prompt, {key: value for key, value in changes.items() if value is not None}
        ),
        out,
        split=split,
        cases=cases,
        names=tuple(kind or ()),
        workers=workers,
        device=device.value,
        as_json=as_json,
    ).run()


def _protocol(name: str | None, prompts: list[str] | None, changes: dict[str, Any]) -> Protocol:
    from segscope.evaluate.protocol import default, read_protocol

    if name is None:
        chosen = default(prompts or PROMPTS)
    else:
        chosen = read_protocol(name)
    if name is not None and prompts:
        chosen = chosen.with_prompts(prompts)
    return replace(chosen, **changes)


def _list(as_json: bool) -> None:
    from segscope.evaluate.protocol import names, read_protocol

    known = {name: read_protocol(name) for name in names()}
    if as_json:
        console.say_json({name: protocol.as_dict() for name, protocol in known.items()})
        return
    for name, protocol in known.items():
        console.say(
            f"{name:<22} {protocol.name}{f' ({protocol.source})' if protocol.source else ''}"
        )


@dataclass(frozen=True, slots=True)
class Evaluate:
    """One evaluation as the command line asks for it."""

    datasets: list[Path]
    models: list[str]
    protocol: Protocol
    out: Path
    split: str | None = None
    cases: int = 0
    names: tuple[str, ...] = ()
    workers: int = 0
    device: str = "auto"
    as_json: bool = False

    def run(self) -> None:
        from functools import partial

        from segscope.evaluate.report import write_report
        from segscope.evaluate.run import EvaluationSettings
        from segscope.evaluate.run import evaluate as run_evaluation
        from segscope.io.datasets.reading import datasets
        from segscope.load import load

        found = [each for path in self.datasets for each in datasets(path)]
        found = [
            each
            for each in found
            if not self.names or any(name in each.name for name in self.names)
        ]
        if not found:
            raise UsageError(f"no data set has {' or '.join(self.names)} in its name")
        loading = partial(load, device=self.device)
        settings = EvaluationSettings(found, self.models, self.protocol, self.split, self.cases)
        workers = self.workers or usual_workers(self.device)
        with console.progress("judging", quiet=self.as_json) as advance:
            result = run_evaluation(settings, self.out, loading, workers=workers, progress=advance)
        report = write_report(result, settings, loading)
        self._say(result, report)
        if result.summary.failed:
            raise typer.Exit(1)

    def _say(self, result: Evaluation, report: Path) -> None:
        if self.as_json:
            console.say_json({"report": str(report), **result.summary.as_dict()})
            return
        for line in result.summary.say():
            console.say(line)
        for text in result.summary.warnings:
            console.say(f"mind: {text}")
        for row in result.summary.failed[:5]:
            console.say(
                f"could not be judged: {row['dataset']} / {row['case']} ({row['model']}): {row['failed']}"
            )
        console.say(f"report: {report}")


def usual_workers(device: str) -> int:
    """One a core on the CPU, where each computes with one thread; one on a GPU."""
    import torch

    on_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    if on_cpu:
        return usable_cores()
    return 1
