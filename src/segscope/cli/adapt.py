"""`segscope adapt`: a base, a method and a data set in, a folder that works as a model out."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from segscope.cli import console
from segscope.cli.segment import Device
from segscope.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from segscope.adapt.data.training_set import Choice
    from segscope.adapt.method import Method
    from segscope.adapt.training.run import Prepared, Result
    from segscope.models.engine import Engine

COMPARED_MINUTES = 3.0


def adapt(
    methods: list[str] | None = typer.Argument(
        None,
        metavar="METHOD",
        help="How; --list shows the methods. `compare METHOD ...` tries several, or all.",
    ),
    data: list[Path] | None = typer.Option(
        None, help="Folder or list of a data set with masks; may be repeated."
    ),
    base: str = typer.Option("mini", help="Model or checkpoint file to begin with."),
    labels: str | None = typer.Option(
        None, metavar="A,B", help="Only things with these names, or unique parts of them."
    ),
    few: int = typer.Option(
        0, min=0, help="Train on so many patients, drawn by the seed; 0 for all."
    ),
    out: Path | None = typer.Option(None, "--out", "-o", help="Folder for the adaptation."),
    steps: int | None = typer.Option(
        None, min=1, help="Steps of training. Default: by method and number of images."
    ),
    minutes: float | None = typer.Option(
        None, min=0.01, help="Time for training; the number of steps follows from it."
    ),
    batch: int | None = typer.Option(None, min=1, help="Images a step."),
    accumulate: int | None = typer.Option(
        None, min=1, help="Parts that a batch is worked through in, to save memory."
    ),
    rate: float | None = typer.Option(None, min=1e-9, help="Highest learning rate."),
    patience: int | None = typer.Option(
        None, min=0, help="Stop after so many validations without gain; 0 for never."
    ),
    precision: str | None = typer.Option(None, help="auto, float32 or bfloat16."),
    seed: int | None = typer.Option(None, help="All chance follows from it."),
    least: int = typer.Option(16, min=1, help="Leave out things with fewer pixels on a frame."),
    prompts: list[str] | None = typer.Option(
        None,
        "--prompt",
        metavar="PLAN",
        help="What to train for, as in `segscope evaluate`; may be repeated.",
    ),
    setting: list[str] | None = typer.Option(
        None, "--set", metavar="NAME=VALUE", help="A setting of the method."
    ),
    cases: int = typer.Option(
        0, min=0, help="With compare: judge at most so many validation cases; 0 for all."
    ),
    resume: bool = typer.Option(False, "--resume", help="Go on with the interrupted run in --out."),
    device: Device = typer.Option(Device.auto, help="Where to train."),
    list_methods: bool = typer.Option(False, "--list", help="List the methods."),
    as_json: bool = typer.Option(False, "--json", help="Result as JSON on stdout."),
) -> None:
    """Adapt a model to your own kind of images, from a data set with masks.

    The folder that it leaves is a model: `segscope segment PICTURE --model FOLDER`. An interrupted
        run goes on with
    --resume and ends with the same weights. Several GPUs: start it with `torchrun -m segscope adapt
    ...`.

    `segscope adapt compare METHOD ...` trains several under one budget, --minutes each (default 3),
    and judges all by `segscope evaluate` on the validation cases; a table and a report end up in
    --out.
    """
    if list_methods:
        _list(as_json)
        return
    if not methods:
        raise UsageError(
            "name a method; `segscope adapt --list` shows them. `decoder` is a good start"
        )
    compared = methods[0] == "compare"
    if len(methods) > 1 and not compared:
        raise UsageError(
            f"one method at a time; `segscope adapt compare {' '.join(methods)}` tries several"
        )
    if cases and not compared:
        raise UsageError("--cases is for `segscope adapt compare`, which judges with the evaluator")
    if not data:
        raise UsageError(
            "name a data set with masks: --data FOLDER (`segscope data list FOLDER` shows what one holds)"
        )
    if out is None:
        raise UsageError("name a folder for the adaptation: --out my-model")
    changes: dict[str, Any] = {
        "steps": steps if steps is not None else (0 if minutes is not None or compared else None),
        "minutes": COMPARED_MINUTES if compared and steps is None and minutes is None else minutes,
        "batch": batch,
        "accumulate": accumulate,
        "rate": rate,
        "patience": patience,
        "precision": precision,
        "seed": seed,
        "prompts": tuple((1.0, text) for text in prompts) if prompts else None,
    }
    asked = Adapt(
        methods[0],
        data,
        out,
        base=base,
        labels=tuple(part for part in (labels or "").split(",") if part.strip()),
        few=few,
        least=least,
        changes={key: value for key, value in changes.items() if value is not None},
        own=tuple(setting or ()),
        resume=resume,
        device=device.value,
        as_json=as_json,
    )
    if compared:
        from segscope.cli.compare import compare

        compare(asked, methods[1:], cases)
    else:
        asked.run()


@dataclass(frozen=True, slots=True)
class Adapt:
    """One adaptation as the command line asks for it."""

    method: str
    data: list[Path]
    out: Path
    base: str = "mini"
    labels: tuple[str, ...] = ()
    few: int = 0
    least: int = 16
    changes: dict[str, Any] = field(default_factory=dict)
    own: tuple[str, ...] = ()
    resume: bool = False
    device: str = "auto"
    as_json: bool = False

    def run(self) -> None:
        from segscope.adapt import method as named
        from segscope.adapt.training.run import Request, check_out
        from segscope.adapt.training.run import adapt as train
        from segscope.io.datasets.reading import dataset

        kind = named(self.method)
        check_out(self.out.expanduser(), self.resume)
        sets = tuple(dataset(path) for path in self.data)
        engine = self.fresh()
        chosen = _with(kind.default_for(engine.card), self.own)
        request = Request(
            engine,
            self.source,
            chosen,
            sets,
            self.choice,
            self.out.expanduser(),
            self.changes,
            self.resume,
        )
        with console.progress("training", quiet=self.as_json) as advance:
            result = train(
                request, about=self._about, say=lambda done, total, _row: advance(done, total)
            )
        self._say(result)
        if result.record is None:
            self._stopped(result)

    @property
    def choice(self) -> Choice:
        from segscope.adapt.data.training_set import Choice

        return Choice(self.labels, self.few, self.least, int(self.changes.get("seed", 0)))

    def fresh(self) -> Engine:
        """The base, loaded anew."""
        import torch

        from segscope.adapt.training.distributed import local_device
        from segscope.load import load

        wanted: Any = self.device
        if self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available()):
            wanted = local_device(torch.device("cuda"))
        return load(self.base, device=wanted, dtype=torch.float32)

    @property
    def source(self) -> str:
        """The base as an adaptation names it: a card, or a whole path, so that it is found from
        anywhere.
        """
        path = Path(self.base).expanduser()
        if path.exists():
            return str(path.resolve())
        return self.base

    def _about(self, ready: Prepared) -> None:
        if self.as_json:
            return
        from segscope.adapt.training.run import example_counts

        for line in example_counts(ready.data):
            console.say(line)
        trained = sum(item.numel() for item in ready.adapted.trained.values())
        console.say(f"trains {trained / 1e6:.3g} million numbers of {ready.request.base.card.name}")
        if ready.estimate is None:
            console.say(f"goes on at step {ready.trainer.progress.step} of {ready.trainer.steps}")
        else:
            cost = ready.estimate
            console.say(
                f"{cost.steps} steps of {cost.step_seconds:.2f} s: about {cost.seconds / 60:.1f} minutes, "
                f"{cost.peak_bytes / 2**30:.1f} GiB of memory"
            )
        sys.stdout.flush()

    def _say(self, result: Result) -> None:
        if self.as_json:
            console.say_json(
                {
                    "folder": str(result.out),
                    "ended": result.outcome.why,
                    "steps": result.outcome.progress.step,
                    "seconds": round(result.outcome.progress.seconds, 1),
                    "before": result.before,
                    "after": result.after,
                    "record": None if result.record is None else result.record.as_dict(),
                }
            )
            return
        best = int(result.outcome.progress.best["step"])
        console.say(
            f"validation Dice {result.before:.3f} before, {result.after:.3f} after (step {best})"
        )
        if result.record is not None and not best:
            console.say(
                "no step was better than the base: the adaptation is the base itself. Try more data or steps"
            )
        if result.record is not None:
            command = "everything"
            if result.record.method.promptable:
                command = "segment"
            console.say(f"use it: segscope {command} PICTURE --model {result.out}")

    def _stopped(self, result: Result) -> None:
        progress = result.outcome.progress
        console.complain(
            f"stopped after step {progress.step}; the same command with --resume goes on from there",
            exit_code=128 + result.outcome.number,
        )
        raise typer.Exit(128 + result.outcome.number)


def _with(method: Method, own: Sequence[str]) -> Method:
    """A method with settings NAME=VALUE in place of its own; values are read as what the setting
    holds now.
    """
    changes: dict[str, Any] = {}
    for text in own:
        name, equals, value = text.partition("=")
        known = {item.name: getattr(method, item.name) for item in dataclasses.fields(method)}
        if not equals or name not in known:
            raise UnknownName(
                f"setting of {method.name}", name, known or ["(none)"], "Wanted: --set NAME=VALUE."
            )
        changes[name] = _read(name, value, known[name])
    return method.with_settings(changes)


def _read(name: str, text: str, now: Any) -> Any:
    try:
        match now:
            case bool():
                return {"yes": True, "true": True, "no": False, "false": False}[text.lower()]
            case int() | float():
                return type(now)(text)
            case tuple():
                kind = str
                if now:
                    kind = type(now[0])
                return tuple(kind(part) for part in text.split(",") if part)
            case _:
                return text
    except (ValueError, KeyError):
        raise UsageError(f"--set {name}={text}: wanted a value like {now}") from None


def _list(as_json: bool) -> None:
    from segscope.adapt import METHODS

    rows = {
        name: {
            "trains": kind.about,
            "prompts": kind.promptable,
            "learns_from": list(kind.dims),
            "families": list(kind.families),
            "paper": kind.paper,
            "when": kind.when,
        }
        for name, kind in METHODS.items()
    }
    if as_json:
        console.say_json(rows)
        return
    for name, row in rows.items():
        prompts = "no prompts"
        if row["prompts"]:
            prompts = "answers prompts"
        console.say(f"{name:<14} {row['trains']} ({prompts}; {', '.join(row['learns_from'])})")
        console.say(f"{'':<14} {row['when']}{' ' + row['paper'] if row['paper'] else ''}")
