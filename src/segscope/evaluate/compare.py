"""Contest: several ways of adapting one base to one data set, under one budget, judged by one
evaluation.

Each method trains in a folder of its own, on the same patients by the same seed. Then the base and
all adaptations are judged on the same validation cases; networks without prompts are held against
themselves as they were before training.
"""

from __future__ import annotations

import csv
import dataclasses
import gc
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from segscope.adapt import method, saved
from segscope.adapt.data.training_set import Choice, split
from segscope.adapt.training.run import RUN, Request, adapt
from segscope.errors import SegscopeError, UsageError
from segscope.evaluate.protocol import Protocol, default
from segscope.evaluate.report import write_report
from segscope.evaluate.results_log import Row
from segscope.evaluate.rows import gain, last_rounds, mean
from segscope.evaluate.run import LOG, Evaluation, Load, evaluate, list_versions
from segscope.files import atomic
from segscope.io.datasets.reading import DataSet
from segscope.models.engine import Engine
from segscope.models.segmenter import Segmenter
from segscope.simulate.plan import Plan

NAME = "contest.json"
TABLE = "comparison"
JUDGED = "judged"
UNTRAINED = "untrained"

BOX = "box.jitter"
SLICES = "box.jitter@uniform=10"
"""What volumes are given besides a box on their largest slice."""

PROPAGATED = "dice@propagated"
"""Where a box is on one slice of a volume, the others are also judged by themselves: that is what
memory is worth.
"""

MOST_OBJECTS = 8
"""Objects of a case that are judged, drawn by the seed."""

NOTE = (
    "Dice on the validation patients, which also chose the step that is kept, so gains are a little too good; "
    "differences are means over patients with 95 % intervals. Networks without prompts (`none`) are compared with "
    "themselves before training."
)


@dataclass(frozen=True, slots=True)
class Contest:
    """What is asked for.

    Attributes:
        base: what `load` knows.
        methods: names.
        sets: data sets.
        choice: what of them.
        changes: settings of training, the same for all.
        out: folder for runs, tables and report.
        cases: at most so many validation cases of a set are judged; 0 for all.
    """

    base: str
    methods: tuple[str, ...]
    sets: tuple[DataSet, ...]
    choice: Choice
    changes: Mapping[str, Any]
    out: Path
    cases: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table: a method, judged by one prompt, or the reason why it is not.

    Attributes:
        method: name.
        failed: why there are no figures; empty where there are.
        prompt: what was given, "none" for networks without prompts.
        parameters: numbers trained.
        minutes, steps: of training.
        kept: step whose weights are kept; 0 is the base itself.
        before, after: mean Dice.
        difference, low, high: mean of the patients' differences, and its 95 % interval.
        patients: with a difference.
    """

    method: str
    failed: str = ""
    prompt: str = ""
    parameters: int = 0
    minutes: float = math.nan
    steps: int = 0
    kept: int = 0
    before: float = math.nan
    after: float = math.nan
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    patients: int = 0

    @property
    def cells(self) -> list[str]:
        """As the table for people has it."""
        if self.failed:
            return [self.method, *["–"] * 7, self.failed.replace("|", "/")]
        if math.isnan(self.low):
            range_ = "no interval"
        else:
            range_ = f"{self.low:+.3f} to {self.high:+.3f}"
        note = "no step was better than the start, which is kept"
        if self.kept:
            note = ""
        return [
            self.method,
            self.prompt,
            f"{self.parameters:,}",
            f"{self.minutes:.1f}",
            f"{self.kept} of {self.steps}",
            f"{self.before:.3f}",
            f"{self.after:.3f}",
            f"{self.difference:+.3f} ({range_}), n {self.patients}",
            note,
        ]


HEAD = (
    "method",
    "prompt",
    "trained numbers",
    "minutes",
    "step kept",
    "before",
    "after",
    "difference (95 %)",
    "",
)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it.

    Attributes:
        lines: of the table, in the order of the methods.
        report: the evaluation's report.html; None where no method got through, or it was stopped.
        stopped: number of the signal that stopped it, or 0.
    """

    lines: tuple[Line, ...] = ()
    report: Path | None = None
    stopped: int = 0


def run_contest(
    contest: Contest,
    load: Load,
    fresh: Callable[[], Engine],
    *,
    resume: bool = False,
    workers: int = 1,
    tell: Callable[[str], None] = lambda _text: None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Result:
    """Train all, judge all, and leave comparison.md, .csv and .json, and the report, in
    `contest.out`.

    A method that cannot adapt the base, or fails, becomes a row with the reason.

    Args:
        contest: what is asked for.
        load: gives what is judged; called in workers, so it must be importable.
        fresh: gives the base for training, in float32.
        resume: go on in a folder that holds a contest of the same settings; finished methods are
            kept, others added.
        workers: processes that judge.
        tell: gets a line about each method when it has ended.
        progress: called with (steps or cases done, all).

    Raises:
        UnknownName: a method that is not there.
        UsageError: nothing can be done with the data, or `contest.out` holds something else.
    """
    for name in contest.methods:
        method(name)
    sets = _validation(contest)
    _begin(contest, fresh, resume)
    failed: dict[str, str] = {}
    for name in contest.methods:
        outcome = _train(contest, name, fresh, progress)
        if isinstance(outcome, int):
            return Result(stopped=outcome)
        failed |= {name: outcome} if outcome else {}
        tell(f"{name}: {outcome or 'trained'}")
        gc.collect()  # networks whose layers were given other functions hold on to themselves
    done = {
        name: saved.read_record(contest.out / name)
        for name in contest.methods
        if name not in failed
    }
    if not done:
        reasons = set(failed.values())
        if not any((contest.out / name).exists() for name in contest.methods):
            (contest.out / NAME).unlink()  # nothing was begun
        raise UsageError(
            reasons.pop()
            if len(reasons) == 1
            else "; ".join(f"{k}: {text}" for k, text in failed.items())
        )
    found, report = _judge(contest, done, sets, load, fresh, workers, progress)
    lines = tuple(_lines(contest, done, failed, found))
    _write(contest, lines)
    return Result(lines, report)


def _validation(contest: Contest) -> list[DataSet]:
    """The data sets with nothing but the cases that no method trains on."""
    cases = [case for each in contest.sets for case in each.cases]
    _, val, _ = split(cases, contest.choice, " + ".join(each.name for each in contest.sets))
    held = {(case.dataset, case.id) for case in val}
    kept = (
        replace(
            each,
            cases=tuple(replace(c, split="val") for c in each.cases if (c.dataset, c.id) in held),
        )
        for each in contest.sets
    )
    return [each for each in kept if each.cases]


def _begin(contest: Contest, fresh: Callable[[], Engine], resume: bool) -> None:
    """Start the folder, or see that it holds a contest of the same settings."""
    path = contest.out / NAME
    if contest.out.exists() and not contest.out.is_dir():
        raise UsageError(f"{contest.out} is a file; name a folder for the comparison")
    if resume != path.is_file():
        raise UsageError(
            f"{contest.out} holds no comparison to go on with; leave --resume out to start one"
            if resume
            else f"{contest.out} holds a comparison; name another --out, or go on with it by --resume"
        )
    settings = {
        "base": saved.base_of(fresh(), contest.base),
        "data": [each.name for each in contest.sets],
        "choice": dataclasses.asdict(contest.choice),
        "training": dict(contest.changes),
    }
    plain = json.loads(json.dumps(settings))
    if resume:
        held = _read(path)
        changed = sorted(key for key in plain if held.get(key) != plain[key])
        if changed:
            raise UsageError(
                f"{contest.out} holds a comparison with another {', '.join(changed)}; --resume goes on with the same "
                "options only, but for more methods. Name another --out"
            )
        return
    contest.out.mkdir(parents=True, exist_ok=True)
    _put(path, plain)


def _train(
    contest: Contest, name: str, fresh: Callable[[], Engine], progress: Callable[[int, int], None]
) -> str | int:
    """Train one method: "" when its adaptation is there, else the reason why not; the number of a
    signal.
    """
    out = contest.out / name
    if saved.is_adaptation(out):
        return ""
    try:
        engine = fresh()
        request = Request(
            engine,
            contest.base,
            method(name).suited(engine.card),
            contest.sets,
            contest.choice,
            out,
            contest.changes,
            (out / RUN).is_file(),
        )
        result = adapt(request, say=lambda done, total, _row: progress(done, total))
    except SegscopeError as error:
        return str(error)
    except (
        Exception
    ) as error:  # one method's trouble, such as want of memory, is not that of the others
        return f"{type(error).__name__}: {error}"
    if result.record is not None:
        return ""
    return result.outcome.number


def _judge(
    contest: Contest,
    done: Mapping[str, saved.Record],
    sets: Sequence[DataSet],
    load: Load,
    fresh: Callable[[], Engine],
    workers: int,
    progress: Callable[[int, int], None],
) -> tuple[Evaluation, Path]:
    """One evaluation of the base, the adaptations, and of networks without prompts as they were
    before training.
    """
    places = {_base(done): contest.base}
    for name, record in done.items():
        places[name] = str(contest.out / name)
        if not record.method.promptable:
            places[f"{UNTRAINED} {name}"] = str(_untrained(contest, name, record, fresh))
    classes = next(iter(done.values())).classes
    protocol = _protocol(contest.choice, classes if contest.choice.labels else ())
    out = contest.out / JUDGED
    known = _read(contest.out / NAME)
    judged = {name: record.weights_hash for name, record in done.items()} | {
        "cases": str(contest.cases)
    }
    if known.get(JUDGED) != judged:
        (out / LOG).unlink(missing_ok=True)  # of other models
        _put(contest.out / NAME, {**known, JUDGED: judged})
    loading = partial(_load, load, places)
    found = evaluate(
        sets,
        list(places),
        protocol,
        out,
        loading,
        workers=workers,
        cases=contest.cases,
        progress=progress,
    )
    # that adaptations have seen other cases of the set is what this is about
    warnings = [text for text in found.summary.warnings if text.startswith(f"{_base(done)} was")]
    found = replace(found, summary=replace(found.summary, warnings=warnings))
    return found, write_report(found, sets, protocol, loading)


def _base(done: Mapping[str, saved.Record]) -> str:
    return str(next(iter(done.values())).base["name"])


def _load(load: Load, places: Mapping[str, str], name: str) -> Engine | Segmenter:
    return load(places[name])


def _protocol(choice: Choice, labels: tuple[str, ...]) -> Protocol:
    usual = default([BOX])
    volume = replace(usual.volume, prompts=(*usual.volume.prompts, Plan.parse(SLICES)))
    return replace(
        usual,
        name="adaptations",
        note=NOTE,
        volume=volume,
        seed=choice.seed,
        objects=MOST_OBJECTS,
        least_pixels=choice.least_pixels,
        labels=labels,
    )


def _untrained(
    contest: Contest, name: str, record: saved.Record, fresh: Callable[[], Engine]
) -> Path:
    """A network without prompts as its training found it, as a folder."""
    place = contest.out / UNTRAINED / name
    if not saved.is_adaptation(place):
        adapted = saved.attach(
            record.method, fresh(), record.classes, int(contest.changes.get("seed", 0))
        )
        place.mkdir(parents=True, exist_ok=True)
        saved.write(
            place, saved.Record(record.method, record.base, record.classes), adapted.tensors()
        )
    return place


# --- tables --------------------------------------------------------------------------------------


def _lines(
    contest: Contest, done: Mapping[str, saved.Record], failed: Mapping[str, str], found: Evaluation
) -> list[Line]:
    rows: dict[tuple[str, str], list[Row]] = {}
    for row in last_rounds(found.rows):
        rows.setdefault((row["model"], row["prompt"]), []).append(row)
    lines = []
    for name in contest.methods:
        if name in failed:
            lines.append(Line(name, failed[name]))
            continue
        record = done[name]
        if record.method.promptable:
            against = _base(done)
        else:
            against = f"{UNTRAINED} {name}"
        training = record.training
        best = record.figures["best"]
        for (model, prompt), after in rows.items():
            if model != name:
                continue
            head = Line(
                name,
                prompt=prompt,
                parameters=training["parameters"],
                minutes=training["seconds"] / 60,
                steps=training["steps"],
                kept=int(best["step"]),
            )
            before = rows[against, prompt]
            lines.append(_figures(head, before, after, "dice"))
            tracked = [row for row in after if PROPAGATED in row]
            if prompt == BOX and tracked:
                there = [row for row in before if PROPAGATED in row]
                lines.append(
                    _figures(
                        replace(head, prompt=f"{prompt}, other frames"), there, tracked, PROPAGATED
                    )
                )
    return lines


def _figures(head: Line, before: Sequence[Row], after: Sequence[Row], score: str) -> Line:
    paired = gain(before, after, score)
    return replace(
        head,
        before=mean(before, score).mean,
        after=mean(after, score).mean,
        difference=paired.mean,
        low=paired.interval.low,
        high=paired.interval.high,
        patients=paired.n_groups,
    )


def table(lines: Sequence[Line]) -> str:
    """As Markdown."""
    rows = [HEAD, ["---"] * len(HEAD), *(line.cells for line in lines)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _write(contest: Contest, lines: Sequence[Line]) -> None:
    plain = [
        {key: None if value != value else value for key, value in dataclasses.asdict(line).items()}
        for line in lines
    ]
    with atomic(contest.out / f"{TABLE}.md") as part:
        names = ", ".join(each.name for each in contest.sets)
        part.write_text(
            f"# {contest.base} adapted to {names}\n\n{table(lines)}\n{NOTE}\n", encoding="utf-8"
        )
    with (
        atomic(contest.out / f"{TABLE}.csv") as part,
        part.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, [item.name for item in dataclasses.fields(Line)])
        writer.writeheader()
        writer.writerows(plain)
    known = {key: value for key, value in _read(contest.out / NAME).items() if key != JUDGED}
    _put(
        contest.out / f"{TABLE}.json",
        {**known, "note": NOTE, "rows": plain, "versions": list_versions()},
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path} is damaged ({error}); start again with another --out") from error


def _put(path: Path, content: Mapping[str, Any]) -> None:
    with atomic(path) as part:
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
