"""One task: all prompts on all objects of one case with one model; what a worker does and what it
gives back.
"""

from __future__ import annotations

import hashlib
import math
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segscope.errors import SegscopeError
from segscope.evaluate.in_context import in_context
from segscope.evaluate.protocol import Protocol, Setting, parse_degrade
from segscope.evaluate.results_log import Row
from segscope.evaluate.rollout import Round, Volume, play
from segscope.evaluate.rows import SPLIT_DICE
from segscope.io.datasets.reading import Case, read_image, read_target
from segscope.metrics import score
from segscope.metrics.instances import aggregated_jaccard, instance_scores
from segscope.metrics.interactive import challenge_round
from segscope.metrics.overlap import dice
from segscope.models.engine import Engine
from segscope.models.segmenter import Segmenter
from segscope.predict.everything import everything
from segscope.predict.stop_rules import StopRules
from segscope.session.interaction import Interaction
from segscope.simulate.corrupt import Degraded
from segscope.simulate.plan import Plan
from segscope.stack import Stack

NO_PROMPT = "none"  # stands in the column "prompt" for networks that need none


@dataclass(frozen=True, slots=True)
class Task:
    """One case of one data set for one model; `examples` are for prompts in context."""

    model: str
    dataset: str
    case: Case
    examples: tuple[Case, ...] = ()

    @property
    def key(self) -> str:
        return f"{self.dataset}\t{self.case.id}\t{self.model}"


@dataclass(frozen=True, slots=True, eq=False)
class Thing:
    """One object to be found.

    Attributes:
        target: number of the truth file within the case, and id in it (and the part, where parts
            are objects).
        label: what it is.
        truth: (frame, row, column) bool.
    """

    target: str
    label: str
    truth: Volume

    @property
    def pixels(self) -> int:
        """On the frame where it is largest."""
        return int(self.truth.sum((1, 2)).max())


def run_task(task: Task, engine: Engine | Segmenter, protocol: Protocol) -> list[Row]:
    """All rows of one case; a case that cannot be read gives one row that says why."""
    base: Row = {
        "model": task.model,
        "dataset": task.dataset,
        "case": task.case.id,
        "group": task.case.group or task.case.id,
        "split": task.case.split,
        "modality": task.case.modality or "",
    }
    began = time.perf_counter()
    try:
        stack = read_image(task.case)
        things = objects(task.case, stack, protocol)
        rows = [
            {**base, "kind": stack.kind, **row}
            for row in _rows(stack, things, task, engine, protocol)
        ]
    except SegscopeError as error:
        rows = [{**base, "failed": str(error)}]
    for row in rows[-1:]:
        row["task_seconds"] = round(time.perf_counter() - began, 3)
        row["peak_bytes"] = peak_bytes()
    return rows


def rules_for(protocol: Protocol, kind: str) -> StopRules | None:
    """When tracking ends by itself, as `segscope.segment` has it."""
    if protocol.stop_rules and kind == "volume":
        return StopRules()
    return None


def peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    unit = 1024
    if sys.platform == "darwin":
        unit = 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def chance(*parts: object) -> np.random.Generator:
    """A generator that follows from what it is for, and from nothing else."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))


def objects(case: Case, stack: Stack, protocol: Protocol) -> list[Thing]:
    """What there is to find in a case, without what the protocol leaves out."""
    found: list[Thing] = []
    for number, target in enumerate(case.targets):
        masks = read_target(target, stack)
        for object_id in masks.object_ids:
            truth = masks.of(object_id)
            label = masks.names[object_id] or target.label
            name = f"{number}:{object_id}"
            if protocol.parts and target.kind != "instance":
                found += [Thing(f"{name}:{part}", label, piece) for part, piece in _parts(truth)]
            else:
                found.append(Thing(name, label, truth))
    wanted = [thing for thing in found if not protocol.labels or thing.label in protocol.labels]
    return [thing for thing in wanted if thing.truth.sum() >= max(protocol.least_pixels, 1)]


def drawn(things: list[Thing], task: Task, protocol: Protocol) -> list[Thing]:
    """At most `protocol.objects` of them, by chance that follows from the case."""
    if not protocol.objects or len(things) <= protocol.objects:
        return things
    rng = chance(protocol.seed, task.dataset, task.case.id, "objects")
    return [
        things[index]
        for index in sorted(rng.choice(len(things), protocol.objects, replace=False).tolist())
    ]


def _parts(truth: Volume) -> Iterator[tuple[int, Volume]]:
    labels, count = ndimage.label(truth, np.ones((3, 3, 3)))
    for part in range(1, count + 1):
        yield part, labels == part


def _rows(
    stack: Stack, things: list[Thing], task: Task, engine: Engine | Segmenter, protocol: Protocol
) -> Iterator[Row]:
    for degrade in protocol.degrade:
        wanted = parse_degrade(degrade)
        shown = stack
        if wanted is not None:
            seed = int(chance(protocol.seed, task.dataset, task.case.id, degrade).integers(2**31))
            shown = replace(stack, source=Degraded(stack.source, *wanted, seed))
        if isinstance(engine, Segmenter):
            found = _unprompted(shown, things, engine, protocol)
        else:
            found = _prompted(shown, things, task, engine, protocol)
        yield from ({"degrade": degrade, **row} for row in found)


def _unprompted(
    stack: Stack, things: list[Thing], engine: Segmenter, protocol: Protocol
) -> Iterator[Row]:
    """A row a class of a network that needs no prompt; one class is taken for one class whatever
    their names.
    """
    truths = classes_of(things)
    began = time.perf_counter()
    found = classes_found(stack, engine, truths)
    seconds = time.perf_counter() - began
    setting = replace(protocol.setting(stack.kind), mode="track", skip="none")
    for label, mask in found.items():
        truth = truths[label]
        state = Round(1, mask, frozenset(range(len(stack))), math.nan, None, 0, seconds)
        head = {"label": label, "object": f"class:{label}", "pixels": int(truth.sum((1, 2)).max())}
        judged = _judge(stack, state, truth, setting)
        yield {**head, "prompt": NO_PROMPT, "choose": "predicted", "seed": protocol.seed, **judged}


def classes_found(
    stack: Stack, engine: Segmenter, truths: Mapping[str, Volume]
) -> dict[str, Volume]:
    """What a network without prompts finds of each class that it shares with the truth."""
    masks = everything(stack, engine)
    numbers = {name: number for number, name in masks.names.items()}
    if len(numbers) == len(truths) == 1:
        numbers = dict(zip(truths, numbers.values(), strict=True))
    return {label: masks.of(numbers[label]) for label in truths if label in numbers}


def _prompted(
    shown: Stack, things: list[Thing], task: Task, engine: Engine, protocol: Protocol
) -> Iterator[Row]:
    setting = protocol.setting(shown.kind)
    whole = [plan for plan in setting.prompts if plan.opening == "everything"]
    each = [plan for plan in setting.prompts if plan.opening != "everything"]
    for plan in whole:
        yield {"prompt": str(plan), **_everything(shown, things, engine)}
    if task.examples and shown.kind == "image":
        truths = {label: truth[0] for label, truth in classes_of(things).items()}
        head: Row = {"prompt": f"in-context:{setting.context}", "seed": protocol.seed}
        yield from (
            {**head, **row}
            for row in in_context(shown, truths, task.examples, engine, setting.metrics)
        )
    if not each or not things:
        return
    with Interaction(shown, engine, overlap="keep") as start:
        for thing in drawn(things, task, protocol):
            for plan in each:
                head = {"label": thing.label, "object": thing.target, "pixels": thing.pixels}
                yield from (
                    {**head, **row} for row in _plan(start, plan, thing, task, protocol, setting)
                )


def classes_of(things: list[Thing]) -> dict[str, Volume]:
    """The objects of each class together."""
    classes: dict[str, Volume] = {}
    for thing in things:
        classes[thing.label] = classes.get(thing.label, False) | thing.truth
    return classes


def _plan(
    start: Interaction, plan: Plan, thing: Thing, task: Task, protocol: Protocol, setting: Setting
) -> Iterator[Row]:
    rules = rules_for(protocol, start.stack.kind)
    lone = plan.opening.startswith(
        ("click", "points")
    )  # several masks are given for a lone click only
    for choose in setting.choose if lone else ("predicted",):
        for seed in range(protocol.seed, protocol.seed + protocol.seeds):
            rng = chance(seed, task.dataset, task.case.id, thing.target, str(plan))
            untouched = rng.bit_generator.state
            for state in play(start, plan, thing.truth, rng, setting, choose, rules):
                judged = _judge(start.stack, state, thing.truth, setting)
                if start.stack.kind != "image" and setting.mode != "frames":
                    judged |= _apart(state, thing.truth)
                if protocol.cvpr25 and start.stack.kind == "volume":
                    scores = challenge_round(state.found, thing.truth, start.stack.spacing_zyx_mm)
                    judged |= dict(zip(("challenge_dice", "challenge_nsd"), scores, strict=True))
                yield {"prompt": str(plan), "choose": choose, "seed": seed, **judged}
            if rng.bit_generator.state == untouched:
                break  # no chance in this plan: other seeds would say the same


def _judge(stack: Stack, state: Round, truth: Volume, setting: Setting) -> Row:
    every = range(len(truth))
    frames = [
        frame for frame in every if _counts(frame, state, len(truth), stack.kind, setting)
    ] or list(every)
    found = state.found[frames]
    true = truth[frames]
    spacing: tuple[float, ...] | None = stack.spacing_zyx_mm
    if stack.kind == "image":
        found = found[0]
        true = true[0]
        if spacing is None:
            spacing = None
        else:
            spacing = spacing[1:]
    scores = score(found, true, spacing, metrics=setting.metrics)
    return {
        "round": state.number,
        "prompts": state.prompts,
        "frames": len(frames),
        "outcome": scores.case,
        "unit": scores.unit,
        "predicted_iou": state.score,
        "true_iou": state.true_iou,
        "seconds": round(state.seconds, 4),
        **{name: float(value) for name, value in scores.values.items()},
    }


def _apart(state: Round, truth: Volume) -> Row:
    """Dice of prompted frames and of the others; NaN where there is nothing to be found."""
    prompted = np.isin(np.arange(len(truth)), list(state.prompted))
    parts = (prompted, ~prompted)
    return {
        name: dice(state.found[at], truth[at]) if truth[at].any() else math.nan
        for name, at in zip(SPLIT_DICE, parts, strict=True)
    }


def _counts(frame: int, state: Round, frames: int, kind: str, setting: Setting) -> bool:
    if kind == "image":
        return True
    if setting.mode == "frames":
        return frame in state.prompted
    if setting.skip == "prompted":
        return frame not in state.prompted
    return setting.skip == "none" or frame not in (0, frames - 1)


def _everything(stack: Stack, things: list[Thing], engine: Engine) -> Row:
    """One row for the whole image: how well objects are found, and what an oracle would make of
    the masks.
    """
    began = time.perf_counter()
    masks = everything(stack, engine)
    seconds = time.perf_counter() - began
    found = masks.frame_labels(0)
    truth: NDArray[np.int32] = np.zeros(stack.size_hw, np.int32)
    for number, thing in enumerate(things, start=1):
        truth[thing.truth[0]] = number
    half, strict = instance_scores(found, truth, thresholds=(0.5, 0.75))
    return {
        "object": "all",
        "choose": "predicted",
        "round": 1,
        "prompts": 0,
        "objects_true": len(things),
        "objects_found": len(masks.object_ids),
        "ap@50": half.ap,
        "f1@50": half.f1,
        "precision@50": half.precision,
        "recall@50": half.recall,
        "pq": half.pq,
        "ap@75": strict.ap,
        "aji": aggregated_jaccard(found, truth),
        "oracle_union_dice": oracle_union(found, truth > 0),
        "seconds": round(seconds, 4),
    }


def oracle_union(found: NDArray[np.uint16], truth: NDArray[np.bool_]) -> float:
    """Dice of all masks together that lie in the truth with more than 90 % of their area (arXiv
    2412.01240, "auto").
    """
    area = np.bincount(found.ravel(), minlength=int(found.max()) + 1)
    inside = np.bincount(found[truth], minlength=len(area))
    kept = (inside > 0.9 * area) & (np.arange(len(area)) > 0)
    return dice(kept[found], truth)
