"""Run: a data set, a base and a method to an adaptation; all that can be refused is refused before
training starts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segscope.adapt import METHODS, saved
from segscope.adapt.data.sampler import Sampler, check_plans
from segscope.adapt.data.training_set import Choice, Data, gather
from segscope.adapt.method import Adapted, Method
from segscope.adapt.training.checkpoint import STATE_FILE
from segscope.adapt.training.curves import Row, write_image, write_table
from segscope.adapt.training.distributed import ProcessGroup, ranks
from segscope.adapt.training.feature_cache import FeatureCache, variants
from segscope.adapt.training.settings import TrainingSettings
from segscope.adapt.training.trainer import Estimate, Trainer, TrainingOutcome, Validate
from segscope.errors import UsageError
from segscope.files import atomic
from segscope.io.datasets.reading import DataSet
from segscope.models.engine import Engine
from segscope.models.model_cards import plain_name
from segscope.models.segmenter import Segmenter

RUN = "run.json"
ZOOM_SIDE = 2048  # frames of networks that look through windows keep so many pixels


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for.

    Attributes:
        base: an engine, fresh, in float32.
        source: how `segscope.load` finds it again: the name of a card, or a path.
        method: with its settings.
        sets: data sets.
        choice: what of them.
        out: folder of the run.
        changes: settings of training in place of the method's own.
        resume: whether to go on with what `out` holds.
    """

    base: Engine
    source: str
    method: Method
    sets: tuple[DataSet, ...]
    choice: Choice
    out: Path
    changes: Mapping[str, Any]
    resume: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that may begin.

    Attributes:
        request: as asked for.
        data: read.
        adapted: method on the base.
        trainer: ready.
        identity: what tells this run from another.
        estimate: what it will cost; None for one that goes on.
        ranks: this process among all.
    """

    request: Request
    data: Data
    adapted: Adapted
    trainer: Trainer
    identity: dict[str, Any]
    estimate: Estimate | None
    ranks: ProcessGroup


@dataclass(frozen=True, slots=True)
class Result:
    """An adaptation, or a run that was stopped.

    Attributes:
        out: its folder.
        outcome: how it ended.
        record: what adaptation.json says; None when it was stopped by a signal.
    """

    out: Path
    outcome: TrainingOutcome
    record: saved.Record | None

    @property
    def before(self) -> float:
        return float(self.outcome.progress.rows[0]["val dice"])

    @property
    def after(self) -> float:
        return float(self.outcome.progress.best["dice"])


def adapt(
    request: Request,
    *,
    about: Callable[[Prepared], None] | None = None,
    say: Callable[[int, int, Row], None] | None = None,
    reading: Callable[[int, int], None] | None = None,
    validate: Validate | None = None,
) -> Result:
    """Train, and leave an adaptation in `request.out`.

    Args:
        request: what is asked for.
        about: called before training starts, with all that is known by then.
        say: called after each step with (steps done, steps to do, figures of the step).
        reading: called while cases are read, with (cases read, cases to read).
        validate: figures of the network as it is, in place of the method's own; "dice" decides.

    Raises:
        UsageError: a request that cannot be fulfilled.
    """
    check_base(request.method, request.base, request.source)
    check_out(request.out, request.resume)
    with ranks(request.base.device) as here:
        ready = prepare(request, here, reading, validate)
        if about is not None and here.first:
            about(ready)
        outcome = ready.trainer.run(say if here.first else None)
        record = None
        if here.first:
            record = finish(ready, outcome)
        here.agree(0.0)  # nobody leaves before the files are there
    return Result(request.out, outcome, record)


def check_base(method: Method, base: Engine | Segmenter, source: str) -> None:
    """Refuse a base that a method cannot adapt."""
    if isinstance(base, Segmenter) or saved.is_adaptation(Path(source).expanduser()):
        plain = plain_name(base.card.name)
        raise UsageError(
            f"{source} is an adaptation itself; adapt a plain base, such as {plain}, or what `segscope models merge` "
            "makes of it"
        )
    if base.card.family not in method.families:
        fit = [name for name, entry in METHODS.items() if base.card.family in entry.families]
        raise UsageError(
            f"{method.name} adapts networks of the families {', '.join(method.families)}; {base.card.name} is of "
            f"{base.card.family}, which {', '.join(fit) or 'no method'} can adapt. Choose another --base or method"
        )


def check_out(out: Path, resume: bool) -> None:
    """Refuse a folder that holds something else, or nothing to go on with."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; name a folder for the run")
    held = (out / RUN).is_file()
    if resume and saved.is_adaptation(out):
        raise UsageError(
            f"the run in {out} is finished; use it as --model {out}, or name another --out"
        )
    if resume and not held:
        raise UsageError(f"{out} holds no run to go on with; leave --resume out to start one")
    if not resume and (held or saved.is_adaptation(out)):
        done = saved.is_adaptation(out)
        raise UsageError(
            f"{out} holds {'a finished run' if done else 'a run that was interrupted'}; name another --out"
            f"{'' if done else ', or go on with it by --resume'}"
        )


def prepare(
    request: Request,
    here: ProcessGroup,
    reading: Callable[[int, int], None] | None = None,
    validate: Validate | None = None,
) -> Prepared:
    """Read the data, attach the method, and measure what a step costs."""
    base = request.base
    method = request.method
    if base.card.zoom and method.promptable:
        side = ZOOM_SIDE
    else:
        side = 2 * base.input_size
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
            f"{method.name} learns from cases without truth as well, and {data.name} has none; list some without "
            "targets, or take --few, which leaves the masks of the other patients out"
        )
    settings = replace(method.settings(base.card, len(data.train.items)), **request.changes)
    settings = check_plans(settings, base.card.prompts)
    if settings.batch % here.world:
        raise UsageError(
            f"a batch of {settings.batch} cannot be shared by {here.world} processes; choose a multiple"
        )
    identity = {
        "method": method.name,
        "settings": method.as_dict(),
        "base": saved.base_of(base, request.source),
        "data": data.fingerprint,
        "training": settings.as_dict(),
        "versions": saved.versions(),
    }
    wanted = method.parameters(base, data.train.classes)
    adapted = saved.attach(method, base, data.train.classes, settings.seed)
    made = sum(item.numel() for item in adapted.trained.values())
    if made != wanted:
        raise AssertionError(f"{method.name} declares {wanted} parameters and trains {made}")
    sampler = _sampler(adapted, data, settings)
    trainer = Trainer(adapted, data, sampler, settings, request.out, here, validate)
    estimate = _begin(request, trainer, identity, here)
    return Prepared(request, data, adapted, trainer, identity, estimate, here)


def _sampler(adapted: Adapted, data: Data, settings: TrainingSettings) -> Sampler:
    """Where examples come from; with kept features as many views of a frame as there is memory for."""
    method = adapted.method
    engine = adapted.engine
    plain = Sampler(
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
        return plain
    each = sum(item.bytes for item in adapted.features(plain.example(0, 0)))
    views = len(data.train.items) + len(data.unlabelled.items)
    count = variants(settings.variants, views, each, settings.cache_bytes)
    if count:
        adapted.store = FeatureCache(settings.cache_bytes)
    return replace(plain, variants=count)


def _begin(
    request: Request, trainer: Trainer, identity: dict[str, Any], here: ProcessGroup
) -> Estimate | None:
    """Start the folder of a run, or take up what it holds."""
    path = request.out / RUN
    if request.resume:
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            steps, validations, views = (
                int(held.pop(name)) for name in ("steps", "validations", "variants")
            )
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise UsageError(
                f"{path} is damaged ({error}); start again with another --out"
            ) from error
        plain = json.loads(json.dumps(identity))
        changed = sorted(key for key in {*held, *plain} if held.get(key) != plain.get(key))
        if changed:
            raise UsageError(
                f"{request.out} holds a run with another {', '.join(changed)}; --resume goes on with the same command "
                "only. Give the same options, or name another --out"
            )
        trainer.steps = steps
        trainer.validations = validations
        trainer.sampler = replace(trainer.sampler, variants=views)
        trainer.resume()
        return None
    estimate = trainer.plan()
    if here.first:
        request.out.mkdir(parents=True, exist_ok=True)
        with atomic(path) as part:
            chosen = {
                "steps": trainer.steps,
                "validations": trainer.validations,
                "variants": trainer.sampler.variants,
            }
            held = {**identity, **chosen}
            part.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
    return estimate


def finish(ready: Prepared, outcome: TrainingOutcome) -> saved.Record | None:
    """Write curves, and the adaptation unless the run is to go on; the best weights are kept."""
    out = ready.request.out
    progress = outcome.progress
    write_table(progress.rows, out)
    write_image(progress.rows, out, f"{ready.adapted.method.name} on {ready.data.name}")
    if outcome.why == "signal":
        return None
    record = saved.Record(
        ready.adapted.method,
        ready.identity["base"],
        ready.data.train.classes,
        ready.data.card,
        training={
            "settings": ready.trainer.settings.as_dict(),
            "steps": progress.step,
            "seconds": round(progress.seconds, 1),
            "ended": outcome.why,
            "parameters": sum(item.numel() for item in ready.adapted.trained.values()),
        },
        figures={
            "what": _what(ready.adapted.method, progress.best),
            "before": progress.rows[0]["val dice"],
            "after": progress.best["dice"],
            "best": progress.best,
        },
    )
    record = saved.write(out, record, progress.kept)
    (out / STATE_FILE).unlink(missing_ok=True)  # only a run that goes on needs it, and it is large
    (out / RUN).unlink(missing_ok=True)
    return record


def _what(method: Method, figures: Mapping[str, float]) -> str:
    """What "dice" means in the figures of a method."""
    if "prompted" in figures:
        return "mean Dice of frames of the validation patients that were not prompted, from a jittered box on another"
    how = "over classes"
    if method.promptable:
        how = "for a jittered box"
    return f"mean Dice of single frames of the validation patients {how}"


def example_counts(data: Data) -> Sequence[str]:
    """The data in words, a line for each part."""
    lines = []
    for part, found in (
        ("train", data.train),
        ("validate", data.val),
        ("unlabelled", data.unlabelled),
    ):
        if found.items:
            things = sum(len(item.things) for item in found.items)
            lines.append(
                f"{part}: {len(found.groups)} patients, {len(found.items)} frames, {things} things"
            )
    return lines
