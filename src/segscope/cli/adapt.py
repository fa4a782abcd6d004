"""`segscope adapt`: a base model, a method and a data set to a folder that works as a model."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from segscope.cli import console
from segscope.cli.options import expand_options
from segscope.cli.training_options import TrainingOptions
from segscope.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from segscope.adapt.method import Method
    from segscope.adapt.training.run import PreparedRun, TrainingResult

BOOLEANS = {"yes": True, "true": True, "no": False, "false": False}


@expand_options
def adapt(
    options: TrainingOptions,
    methods: list[str] | None = typer.Argument(
        None, metavar="METHOD", help="Adaptation method; --list shows all of them."
    ),
    settings: list[str] | None = typer.Option(
        None, "--set", metavar="NAME=VALUE", help="A setting of the method; repeatable."
    ),
    list_methods: bool = typer.Option(False, "--list", help="List the methods and exit."),
) -> None:
    """Adapt a model to your own images, using a data set with masks.

    The output folder works as a model: `segscope segment IMAGE --model FOLDER`. An interrupted run
    continues with --resume and ends with the same weights. To train on several GPUs, start it with
    `torchrun -m segscope adapt ...`. `segscope compare` trains several methods and compares them.
    """
    if list_methods:
        _list_methods(options.as_json)
        return
    if not methods:
        raise UsageError(
            "no method: name one of those that `segscope adapt --list` shows; `decoder` is a good "
            "start"
        )
    if len(methods) > 1:
        raise UsageError(
            f"adapt takes one method; `segscope compare {' '.join(methods)}` compares several"
        )
    options.check()
    Adapt(methods[0], options, tuple(settings or ())).run()


@dataclass(frozen=True, slots=True)
class Adapt:
    """One run of `segscope adapt`.

    Attributes:
        method: name.
        options: what to train, on what, and for how long.
        settings: NAME=VALUE for the method.
    """

    method: str
    options: TrainingOptions
    settings: tuple[str, ...] = ()

    def run(self) -> None:
        """Train, and print the result.

        Raises:
            typer.Exit: a signal stopped the run.
        """
        from segscope.adapt import method as find_method
        from segscope.adapt.training.run import TrainingRequest, check_out
        from segscope.adapt.training.run import adapt as train

        options = self.options
        kind = find_method(self.method)
        check_out(options.folder, options.resume)
        sets = options.read_sets()
        engine = options.load_base()
        request = TrainingRequest(
            engine,
            options.base_source(),
            _apply_settings(kind.default_for(engine.card), self.settings),
            sets,
            options.choice(),
            options.folder,
            options.changes(),
            options.resume,
        )
        with console.progress("training", quiet=options.as_json) as advance:
            result = train(
                request,
                about=self._print_plan,
                say=lambda done, total, _row: advance(done, total),
            )
        if options.as_json:
            _print_json(result)
        else:
            _print_result(result)
        if result.record is None:
            _exit_stopped(result)

    def _print_plan(self, prepared: PreparedRun) -> None:
        """What will be trained, and what it costs, before it starts."""
        if self.options.as_json:
            return
        from segscope.adapt.training.run import example_counts

        for line in example_counts(prepared.data):
            console.print_line(line)
        parameters = sum(item.numel() for item in prepared.adapted.trained.values())
        name = prepared.request.base.card.name
        console.print_line(f"{parameters / 1e6:.3g} million trainable parameters on {name}")
        cost = prepared.estimate
        if cost is None:
            trainer = prepared.trainer
            console.print_line(f"resuming at step {trainer.progress.step} of {trainer.steps}")
        else:
            console.print_line(
                f"{cost.steps} steps of {cost.step_seconds:.2f} s: about {cost.seconds / 60:.1f} "
                f"minutes, {cost.peak_bytes / 2**30:.1f} GiB of memory"
            )
        sys.stdout.flush()


def _print_json(result: TrainingResult) -> None:
    progress = result.outcome.progress
    record = None
    if result.record is not None:
        record = result.record.as_dict()
    console.print_json(
        {
            "folder": str(result.out),
            "ended": result.outcome.why,
            "steps": progress.step,
            "seconds": round(progress.seconds, 1),
            "gain": result.gain.as_dict(),
            "record": record,
        }
    )


def _print_result(result: TrainingResult) -> None:
    gain = result.gain
    step = int(result.outcome.progress.best["step"])
    after = gain.after
    if math.isnan(after):
        after = result.outcome.progress.best["dice"]
    console.print_line(
        f"validation Dice: {gain.before:.3f} before, {after:.3f} after (step {step})"
    )
    console.print_line(gain.text)
    if result.record is None:
        return
    if not gain.significant:
        console.print_line("try more images, more steps or another method")
    command = "everything"
    if result.record.method.promptable:
        command = "segment"
    console.print_line(f"use it with: segscope {command} IMAGE --model {result.out}")


def _exit_stopped(result: TrainingResult) -> None:
    exit_code = 128 + result.outcome.number
    step = result.outcome.progress.step
    console.print_error(
        f"stopped after step {step}; run the same command with --resume to continue",
        exit_code=exit_code,
    )
    raise typer.Exit(exit_code)


def _apply_settings(method: Method, settings: Sequence[str]) -> Method:
    """The method with settings NAME=VALUE; a value is parsed by the type of its default."""
    defaults = {item.name: getattr(method, item.name) for item in dataclasses.fields(method)}
    changes: dict[str, Any] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or name not in defaults:
            raise UnknownName(
                f"setting of {method.name}",
                name,
                defaults or ["(none)"],
                "Expected --set NAME=VALUE.",
            )
        changes[name] = _parse_setting(name, value, defaults[name])
    return method.with_settings(changes)


def _parse_setting(name: str, text: str, default: Any) -> Any:
    try:
        match default:
            case bool():
                return BOOLEANS[text.lower()]
            case int() | float():
                return type(default)(text)
            case tuple():
                parse: type = str
                if default:
                    parse = type(default[0])
                return tuple(parse(part) for part in text.split(",") if part)
            case _:
                return text
    except (ValueError, KeyError):
        raise UsageError(
            f"--set {name}={text}: expected a value like the default, {default}"
        ) from None


def _list_methods(as_json: bool) -> None:
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
        console.print_json(rows)
        return
    for name, kind in METHODS.items():
        prompts = "no prompts"
        if kind.promptable:
            prompts = "answers prompts"
        console.print_line(f"{name:<14} {kind.about} ({prompts}; {', '.join(kind.dims)})")
        console.print_line(f"{'':<14} {kind.when} {kind.paper}".rstrip())
