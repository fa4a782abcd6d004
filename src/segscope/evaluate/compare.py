"""Compare: several ways of adapting one base to one data set, under one budget, scored by one
evaluation.

Each method trains in a folder of its own, on the same patients drawn by the same seed. Then the
base and all adaptations are evaluated on the same cases, whose patients took no part in training;
networks without prompts are compared with themselves before training.
"""

from __future__ import annotations

import dataclasses
import gc
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from segscope.adapt import method, saved
from segscope.adapt.data.training_set import CaseSelection, split
from segscope.adapt.training.run import RUN, TrainingRequest, adapt
from segscope.errors import SegscopeError, UsageError
from segscope.evaluate.comparison_table import (
    BOX,
    NOTE,
    SCORED,
    UNTRAINED,
    ComparisonRow,
    base_name,
    build_rows,
    write_json,
    write_table,
)
from segscope.evaluate.protocol import Protocol, default
from segscope.evaluate.report import write_report
from segscope.evaluate.run import (
    LOG,
    Evaluation,
    EvaluationSettings,
    evaluate,
    list_versions,
)
from segscope.evaluate.workers import Load, Progress
from segscope.io.datasets.dataset import DataSet
from segscope.models.engine import Engine
from segscope.models.segmenter import Segmenter
from segscope.simulate.plan import Plan

SETTINGS = "settings.json"
EVALUATION = "evaluation"

SLICES = "box.jitter@uniform=10"
"""What volumes are given besides a box on their largest slice."""

MAX_OBJECTS = 8
"""Objects of a case that are scored, drawn by the seed."""


@dataclass(frozen=True, slots=True)
class Loaders:
    """How networks are loaded.

    Attributes:
        model: loads what is evaluated, by name or path; it must be importable, for workers.
        base: loads the base for training, in float32.
    """

    model: Load
    base: Callable[[], Engine]


@dataclass(frozen=True, slots=True)
class MethodComparison:
    """Settings of a comparison.

    Attributes:
        base: name or path that `load` knows.
        methods: names.
        sets: data sets.
        choice: which of their cases, objects and patients are used.
        changes: settings of training, the same for all methods.
        out: folder for runs, tables and report.
        max_cases: at most this many validation cases of a set are scored; 0 for all.
    """

    base: str
    methods: tuple[str, ...]
    sets: tuple[DataSet, ...]
    choice: CaseSelection
    changes: Mapping[str, Any]
    out: Path
    max_cases: int = 0

    @property
    def settings_file(self) -> Path:
        """The file that says what the folder holds."""
        return self.out / SETTINGS


@dataclass(frozen=True, slots=True)
class ComparisonResult:
    """Result of a comparison.

    Attributes:
        rows: of the table, in the order of the methods.
        report: the evaluation's report.html; None where the comparison was stopped.
        stopped: number of the signal that stopped it, or 0.
    """

    rows: tuple[ComparisonRow, ...] = ()
    report: Path | None = None
    stopped: int = 0


def compare_methods(
    comparison: MethodComparison,
    loaders: Loaders,
    *,
    resume: bool = False,
    workers: int = 1,
    tell: Callable[[str], None] = lambda _text: None,
    progress: Progress = lambda _done, _total: None,
) -> ComparisonResult:
    """Train and evaluate all methods; write comparison.md, .csv, .json and the report into
    `comparison.out`.

    A method that cannot adapt the base, or fails, becomes a row with the reason.

    Args:
        comparison: the settings.
        loaders: how the base and the adaptations are loaded.
        resume: continue in a folder that holds a comparison with the same settings; trained methods
            are not trained again, others are added.
        workers: number of processes of the evaluation.
        tell: called with a line about each method when it has ended.
        progress: called with (steps or cases done, total).

    Raises:
        UnknownName: no such method.
        UsageError: the data cannot be used, or `comparison.out` holds something else.
    """
    for name in comparison.methods:
        method(name)
    comparison = replace(comparison, choice=replace(comparison.choice, keep_test=True))
    scored = _scored_sets(comparison)
    _begin(comparison, loaders, resume)
    failed: dict[str, str] = {}
    for name in comparison.methods:
        outcome = _train(comparison, name, loaders, progress)
        if isinstance(outcome, int):
            return ComparisonResult(stopped=outcome)
        if outcome:
            failed[name] = outcome
        tell(f"{name}: {outcome or 'trained'}")
        gc.collect()  # networks with replaced forward functions are reference cycles
    trained = {
        name: saved.read_record(comparison.out / name)
        for name in comparison.methods
        if name not in failed
    }
    if not trained:
        _refuse_all_failed(comparison, failed)
    evaluation, report = _evaluate(comparison, trained, scored, loaders, workers, progress)
    rows = build_rows(comparison.methods, trained, failed, evaluation.rows)
    _write(comparison, rows, scored.note)
    return ComparisonResult(tuple(rows), report)


def _refuse_all_failed(comparison: MethodComparison, failed: Mapping[str, str]) -> None:
    if not any((comparison.out / name).exists() for name in comparison.methods):
        comparison.settings_file.unlink()  # no training has begun
    reasons = list(dict.fromkeys(failed.values()))
    if len(reasons) > 1:
        reasons = [f"{name}: {reason}" for name, reason in failed.items()]
    raise UsageError("; ".join(reasons))


@dataclass(frozen=True, slots=True)
class ScoredSets:
    """What all methods are scored on.

    Attributes:
        sets: data sets, reduced to these cases.
        note: what they are, and how the figures are to be read.
    """

    sets: list[DataSet]
    note: str


def _scored_sets(comparison: MethodComparison) -> ScoredSets:
    """The data sets, reduced to the cases that no method has seen; where the only patient to
    validate on chooses the weights, to this one.
    """
    cases = [case for dataset in comparison.sets for case in dataset.cases]
    names = " + ".join(dataset.name for dataset in comparison.sets)
    parts = split(cases, comparison.choice, names)
    keys = {(case.dataset, case.id) for case in parts.test or parts.val}
    reduced = []
    for dataset in comparison.sets:
        chosen = [case for case in dataset.cases if (case.dataset, case.id) in keys]
        if chosen:
            marked = tuple(replace(case, split="val") for case in chosen)
            reduced.append(replace(dataset, cases=marked))
    kind = "validation part"
    if not parts.test:
        kind = "val"
    elif parts.test[0].split == "test":
        kind = "test"
    return ScoredSets(reduced, f"{SCORED[kind]} {NOTE}")


def _begin(comparison: MethodComparison, loaders: Loaders, resume: bool) -> None:
    """Start the folder, or check that it holds a comparison with the same settings."""
    out = comparison.out
    path = comparison.settings_file
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; name a folder for the comparison")
    if resume and not path.is_file():
        raise UsageError(f"{out} holds no comparison to resume; omit --resume to start one")
    if path.is_file() and not resume:
        raise UsageError(f"{out} already holds a comparison; use --resume or another --out")
    settings = {
        "base": saved.base_of(loaders.base(), comparison.base),
        "data": [dataset.name for dataset in comparison.sets],
        "choice": dataclasses.asdict(comparison.choice),
        "training": dict(comparison.changes),
    }
    plain = json.loads(json.dumps(settings))
    if not resume:
        out.mkdir(parents=True, exist_ok=True)
        write_json(path, plain)
        return
    earlier = _read_settings(path)
    changed = sorted(key for key in plain if earlier.get(key) != plain[key])
    if changed:
        raise UsageError(
            f"{out} holds a comparison with another {', '.join(changed)}; --resume may only add "
            "methods. Use the same options, or another --out"
        )


def _train(
    comparison: MethodComparison, name: str, loaders: Loaders, progress: Progress
) -> str | int:
    """Train one method: "" if there is an adaptation afterwards, else the reason why not, or the
    number of a signal.
    """
    out = comparison.out / name
    if saved.is_adaptation(out):
        return ""
    try:
        base = loaders.base()
        request = TrainingRequest(
            base,
            comparison.base,
            method(name).default_for(base.card),
            comparison.sets,
            comparison.choice,
            out,
            comparison.changes,
            (out / RUN).is_file(),
        )
        result = adapt(request, say=lambda done, total, _row: progress(done, total))
    except SegscopeError as error:
        return str(error)
    except Exception as error:  # such as too little memory; other methods may still train
        return f"{type(error).__name__}: {error}"
    if result.record is not None:
        return ""
    return result.outcome.number


# --- evaluation ----------------------------------------------------------------------------------


def _evaluate(
    comparison: MethodComparison,
    trained: Mapping[str, saved.AdaptationRecord],
    scored: ScoredSets,
    loaders: Loaders,
    workers: int,
    progress: Progress,
) -> tuple[Evaluation, Path]:
    """One evaluation of the base, the adaptations, and of networks without prompts as they were
    before training.
    """
    first = next(iter(trained.values()))
    base = base_name(first)
    places = {base: comparison.base}
    for name, record in trained.items():
        places[name] = str(comparison.out / name)
        if not record.method.promptable:
            untrained = _save_untrained(comparison, name, record, loaders)
            places[f"{UNTRAINED} {name}"] = str(untrained)
    out = comparison.out / EVALUATION
    _forget_other_models(comparison, trained)
    protocol = _make_protocol(comparison.choice, first.classes, scored.note)
    settings = EvaluationSettings(
        tuple(scored.sets), tuple(places), protocol, max_cases=comparison.max_cases
    )
    load_by_name = partial(_load, loaders.model, places)
    result = evaluate(settings, out, load_by_name, workers=workers, progress=progress)
    # adaptations were trained on other cases of the set, as intended; only the base is warned about
    warnings = [text for text in result.summary.warnings if text.startswith(f"{base} was")]
    result = replace(result, summary=replace(result.summary, warnings=warnings))
    return result, write_report(result, settings, load_by_name)


def _forget_other_models(
    comparison: MethodComparison, trained: Mapping[str, saved.AdaptationRecord]
) -> None:
    """Delete the log of an evaluation of other weights or cases."""
    identity = {name: record.weights_hash for name, record in trained.items()}
    identity["cases"] = str(comparison.max_cases)
    settings = _read_settings(comparison.settings_file)
    if settings.get(EVALUATION) != identity:
        (comparison.out / EVALUATION / LOG).unlink(missing_ok=True)
        write_json(comparison.settings_file, {**settings, EVALUATION: identity})


def _load(load: Load, places: Mapping[str, str], name: str) -> Engine | Segmenter:
    return load(places[name])


def _make_protocol(choice: CaseSelection, classes: tuple[str, ...], note: str) -> Protocol:
    usual = default([BOX])
    volume = replace(usual.volume, prompts=(*usual.volume.prompts, Plan.parse(SLICES)))
    labels: tuple[str, ...] = ()
    if choice.labels:
        labels = classes
    return replace(
        usual,
        name="adaptations",
        note=note,
        volume=volume,
        seed=choice.seed,
        objects=MAX_OBJECTS,
        least_pixels=choice.least_pixels,
        labels=labels,
    )


def _save_untrained(
    comparison: MethodComparison, name: str, record: saved.AdaptationRecord, loaders: Loaders
) -> Path:
    """The folder of a network without prompts as it was when its training began."""
    place = comparison.out / UNTRAINED / name
    if saved.is_adaptation(place):
        return place
    seed = int(comparison.changes.get("seed", 0))
    adapted = saved.attach(record.method, loaders.base(), record.classes, seed)
    place.mkdir(parents=True, exist_ok=True)
    untrained = saved.AdaptationRecord(record.method, record.base, record.classes)
    saved.write(place, untrained, adapted.tensors())
    return place


# --- files ---------------------------------------------------------------------------------------


def _write(comparison: MethodComparison, rows: Sequence[ComparisonRow], note: str) -> None:
    names = ", ".join(dataset.name for dataset in comparison.sets)
    facts = _read_settings(comparison.settings_file)
    facts.pop(EVALUATION, None)
    facts["versions"] = list_versions()
    write_table(comparison.out, f"{comparison.base} adapted to {names}", rows, facts, note)


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path} is damaged ({error}); start again with another --out") from error
