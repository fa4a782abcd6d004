"""Run: from a data set, a base and a method to an adaptation. Everything that can be refused is
refused before training starts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from segscope.adapt import METHODS, saved
from segscope.adapt.data.sampler import Sampler, drop_unsupported_plans
from segscope.adapt.data.training_set import CaseSelection, Data, gather
from segscope.adapt.method import Adapted, Method
from segscope.adapt.training.checkpoint import STATE_FILE
from segscope.adapt.training.curves import write_image, write_table
from segscope.adapt.training.distributed import Processes, join_processes
from segscope.adapt.training.estimate import Estimate
from segscope.adapt.training.feature_cache import FeatureCache, count_variants
from segscope.adapt.training.settings import TrainingSettings
from segscope.adapt.training.trainer import OnStep, Trainer, TrainingOutcome, Validate
from segscope.adapt.validation.selection import Gain
from segscope.errors import UsageError
from segscope.files import atomic
from segscope.io.datasets.dataset import DataSet
from segscope.models.engine import Engine
from segscope.models.model_cards import plain_name
from segscope.models.segmenter import Segmenter
from segscope.models.weight_files import UNFINISHED_RUN

RUN = UNFINISHED_RUN
CROP_SIDE = 2048
"""Longer side to which frames are reduced for networks that see crops of them, in pixels."""

OnRead = Callable[[int, int], None]
"""Takes the number of cases read and the number of cases to read."""


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """A run to be done.

    Attributes:
        base: a freshly loaded engine in float32.
        source: how `segscope.load` finds it again: the name of a card, or a path.
        method: with its settings.
        sets: data sets.
        choice: the part of them that is used.
        out: folder of the run.
        changes: training settings that replace the method's own.
        resume: whether to continue the run in `out`.
    """

    base: Engine
    source: str
    method: Method
    sets: tuple[DataSet, ...]
    choice: CaseSelection
    out: Path
    changes: Mapping[str, Any]
    resume: bool = False


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """A run that is ready to start.

    Attributes:
        request: the run.
        data: loaded.
        adapted: method on the base.
        trainer: ready.
        identity: everything that distinguishes this run from another.
        estimate: what it will cost; None for a resumed run.
        processes: the processes of the run.
    """

    request: TrainingRequest
    data: Data
    adapted: Adapted
    trainer: Trainer
    identity: dict[str, Any]
    estimate: Estimate | None
    processes: Processes


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """An adaptation, or a run that was stopped.

    Attributes:
        out: its folder.
        outcome: how it ended.
        record: content of adaptation.json; None when a signal stopped the run.
    """

    out: Path
    outcome: TrainingOutcome
    record: saved.AdaptationRecord | None

    @property
    def gain(self) -> Gain:
        """Validation Dice before and after, on patients who did not choose the weights."""
        return self.outcome.progress.gain


def adapt(
    request: TrainingRequest,
    *,
    about: Callable[[PreparedRun], None] | None = None,
    say: OnStep | None = None,
    reading: OnRead | None = None,
    validate: Validate | None = None,
) -> TrainingResult:
    """Train, and leave an adaptation in `request.out`.

    Args:
        request: the run to be done.
        about: called before training starts, with everything known by then.
        say: called after each step with (completed steps, planned steps, figures of the step).
        reading: called while cases are read, with (cases read, cases to read).
        validate: scores of the network as it is, instead of the method's own.

    Raises:
        UsageError: a run that cannot be done.
    """
    check_base(request.method, request.base, request.source)
    check_out(request.out, request.resume)
    with join_processes(request.base.device) as processes:
        ready = prepare(request, processes, reading, validate)
        if about is not None and processes.first:
            about(ready)
        on_step = None
        if processes.first:
            on_step = say
        outcome = ready.trainer.run(on_step)
        record = None
        if processes.first:
            record = finish(ready, outcome)
        processes.broadcast(0.0)  # no process leaves before the files are written
    return TrainingResult(request.out, outcome, record)


def check_base(method: Method, base: Engine | Segmenter, source: str) -> None:
    """Refuse a base that a method cannot adapt."""
    if isinstance(base, Segmenter) or saved.is_adaptation(Path(source).expanduser()):
        raise UsageError(
            f"{source} is already an adaptation; adapt a plain base such as "
            f"{plain_name(base.card.name)}, or merge it first with `segscope models merge`"
        )
    family = base.card.family
    if family not in method.families:
        fitting = [name for name, entry in METHODS.items() if family in entry.families]
        raise UsageError(
            f"{method.name} adapts networks of the families {', '.join(method.families)}; "
            f"{base.card.name} belongs to {family}, which {', '.join(fitting) or 'no method'} can "
            "adapt. Choose another --base or method"
        )


def check_out(out: Path, resume: bool) -> None:
    """Refuse a folder that holds something else, or nothing to resume."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; name a folder for the run")
    finished = saved.is_adaptation(out)
    interrupted = (out / RUN).is_file()
    if resume:
        _check_resumable(out, finished, interrupted)
    elif finished:
        raise UsageError(f"{out} holds a finished run; name another --out")
    elif interrupted:
        raise UsageError(
            f"{out} holds an interrupted run; name another --out, or continue it with --resume"
        )


def _check_resumable(out: Path, finished: bool, interrupted: bool) -> None:
    if finished:
        raise UsageError(
            f"the run in {out} is finished; use it as --model {out}, or name another --out"
        )
    if not interrupted:
        raise UsageError(f"{out} holds no run to resume; leave out --resume to start one")


def prepare(
    request: TrainingRequest,
    processes: Processes,
    reading: OnRead | None = None,
    validate: Validate | None = None,
) -> PreparedRun:
    """Read the data, attach the method, and measure what a step costs."""
    method = request.method
    data = _read_data(request, reading)
    settings = _training_settings(request, data, processes)
    identity = {
        "method": method.name,
        "settings": method.as_dict(),
        "base": saved.base_of(request.base, request.source),
        "data": data.fingerprint,
        "training": settings.as_dict(),
        "versions": saved.versions(),
    }
    adapted = _attach(request, data, settings)
    sampler = _make_sampler(adapted, data, settings)
    trainer = Trainer(adapted, data, sampler, request.out, processes, validate)
    estimate = None
    if request.resume:
        _resume(request.out, trainer, identity)
    else:
        estimate = trainer.plan()
        if processes.first:
            _write_run(request.out, trainer, identity)
    return PreparedRun(request, data, adapted, trainer, identity, estimate, processes)


def _read_data(request: TrainingRequest, reading: OnRead | None) -> Data:
    """The data of a run, at the resolution that the base can use."""
    base = request.base
    method = request.method
    side = 2 * base.input_size
    if base.card.zoom and method.promptable:
        side = CROP_SIDE
    data = gather(
        request.sets,
        request.choice,
        side,
        empty=not method.promptable,
        unlabelled=method.unlabelled > 0,
        progress=reading,
    )
    if method.unlabelled and not data.unlabelled.items:
        raise UsageError(
            f"{method.name} also learns from cases without truth, and {data.name} has none; list "
            "some without targets, or pass --max-patients, which leaves out the masks of the other "
            "patients"
        )
    return data


def _training_settings(
    request: TrainingRequest, data: Data, processes: Processes
) -> TrainingSettings:
    """The method's settings with the changes of the request."""
    card = request.base.card
    settings = request.method.settings(card, len(data.train.items))
    settings = replace(settings, **request.changes)
    settings = drop_unsupported_plans(settings, card.prompts)
    if settings.batch % processes.world:
        raise UsageError(
            f"a batch of {settings.batch} cannot be divided among {processes.world} processes; "
            "choose a multiple"
        )
    return settings


def _attach(request: TrainingRequest, data: Data, settings: TrainingSettings) -> Adapted:
    """The method on the base; it trains as many parameters as it declares."""
    method = request.method
    declared = method.parameters(request.base, data.train.classes)
    adapted = saved.attach(method, request.base, data.train.classes, settings.seed)
    trained = _count_trained(adapted)
    if trained != declared:
        raise AssertionError(f"{method.name} declares {declared} parameters and trains {trained}")
    return adapted


def _count_trained(adapted: Adapted) -> int:
    return sum(map(Tensor.numel, adapted.trained.values()))


def _make_sampler(adapted: Adapted, data: Data, settings: TrainingSettings) -> Sampler:
    """Draws examples; where features are cached, from as many views of a frame as fit in memory."""
    method = adapted.method
    engine = adapted.engine
    sampler = Sampler(
        data.train,
        data.unlabelled,
        settings,
        zoom=engine.card.zoom and method.promptable,
        promptable=method.promptable,
        frames=method.frames,
        grid=max(256, engine.input_size // 2),
        more=method.unlabelled,
    )
    if not (method.frozen_encoder and settings.cache_bytes):
        return sampler
    bytes_each = sum(item.bytes for item in adapted.features(sampler.example(0, 0)))
    frames = len(data.train.items) + len(data.unlabelled.items)
    variants = count_variants(settings.variants, frames, bytes_each, settings.cache_bytes)
    if variants:
        adapted.store = FeatureCache(settings.cache_bytes)
    return replace(sampler, variants=variants)


def _write_run(out: Path, trainer: Trainer, identity: Mapping[str, Any]) -> None:
    """Start the folder of a run with what is needed to resume it."""
    plan = {
        "steps": trainer.steps,
        "validations": trainer.validations,
        "variants": trainer.sampler.variants,
    }
    out.mkdir(parents=True, exist_ok=True)
    with atomic(out / RUN) as part:
        part.write_text(json.dumps({**identity, **plan}, indent=1) + "\n", encoding="utf-8")


def _resume(out: Path, trainer: Trainer, identity: Mapping[str, Any]) -> None:
    """Continue the run in a folder.

    Raises:
        UsageError: it is another run, or its file is damaged.
    """
    path = out / RUN
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        trainer.steps = int(stored.pop("steps"))
        trainer.validations = int(stored.pop("validations"))
        variants = int(stored.pop("variants"))
    except (ValueError, KeyError, TypeError, OSError, AttributeError) as error:
        raise UsageError(f"{path} is damaged ({error}); start again with another --out") from error
    requested = json.loads(json.dumps(identity))
    keys = {*stored, *requested}
    changed = sorted(key for key in keys if stored.get(key) != requested.get(key))
    if changed:
        raise UsageError(
            f"{out} holds a run with another {', '.join(changed)}; --resume continues only the "
            "same command. Give the same options, or name another --out"
        )
    trainer.sampler = replace(trainer.sampler, variants=variants)
    trainer.resume()


def finish(ready: PreparedRun, outcome: TrainingOutcome) -> saved.AdaptationRecord | None:
    """Write the curves and, unless a signal stopped the run, the adaptation."""
    out = ready.request.out
    method = ready.adapted.method
    progress = outcome.progress
    write_table(progress.rows, out)
    write_image(progress.rows, out, f"{method.name} on {ready.data.name}")
    if outcome.why == "signal":
        return None
    record = saved.AdaptationRecord(
        method,
        ready.identity["base"],
        ready.data.train.classes,
        ready.data.card,
        training={
            "settings": ready.trainer.settings.as_dict(),
            "steps": progress.step,
            "seconds": round(progress.seconds, 1),
            "ended": outcome.why,
            "parameters": _count_trained(ready.adapted),
        },
        figures={
            "what": _describe_dice(ready, progress.best),
            **progress.gain.as_dict(),
            "best": progress.best,
        },
    )
    record = saved.write(out, record, progress.best_tensors)
    # only a run that continues needs them, and the state is large
    (out / STATE_FILE).unlink(missing_ok=True)
    (out / RUN).unlink(missing_ok=True)
    return record


def _describe_dice(ready: PreparedRun, figures: Mapping[str, float]) -> str:
    """What "dice" means in the figures of a run."""
    if not ready.adapted.method.promptable:
        return "mean Dice of classes on single frames, over the validation patients"
    plans = [plan for _, plan in ready.adapted.prompts]
    opening = f"the first prompt of {' or '.join(plans)}"
    if "prompted" in figures:
        return (
            "mean Dice of frames that were not prompted, over the validation patients, from "
            f"{opening} on another frame"
        )
    return f"mean Dice of single frames, over the validation patients, for {opening}"


def example_counts(data: Data) -> Sequence[str]:
    """Description of the data, one line for each part."""
    parts = {"train": data.train, "validate": data.val, "unlabelled": data.unlabelled}
    lines = []
    for name, part in parts.items():
        if not part.items:
            continue
        objects = sum(len(item.objects) for item in part.items)
        lines.append(
            f"{name}: {len(part.groups)} patients, {len(part.items)} frames, {objects} objects"
        )
    return lines
