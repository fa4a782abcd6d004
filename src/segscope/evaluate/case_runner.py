"""One task: all prompts on all objects of one case with one model, as rows of results."""

from __future__ import annotations

import hashlib
import math
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segscope.errors import SegscopeError
from segscope.evaluate.in_context import in_context
from segscope.evaluate.protocol import Protocol, Setting, parse_degrade
from segscope.evaluate.results_log import Row
from segscope.evaluate.rollout import RolloutOptions, Round, Volume, roll_out
from segscope.evaluate.rows import SPLIT_DICE
from segscope.io.datasets.dataset import Case
from segscope.io.datasets.dataset import GroundTruth as DatasetTarget
from segscope.io.datasets.reading import read_image, read_target
from segscope.masks import LabelMap
from segscope.metrics import score
from segscope.metrics.instances import aggregated_jaccard, instance_scores
from segscope.metrics.interactive import challenge_round
from segscope.metrics.overlap import dice
from segscope.models.engine import Engine
from segscope.models.segmenter import Segmenter
from segscope.predict.everything import everything
from segscope.predict.stop_rules import StopRules, default_rules
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

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.case.image,)


@dataclass(frozen=True, slots=True, eq=False)
class EvaluatedObject:
    """One object that a model must segment.

    Attributes:
        target: number of the truth file within the case and id in it, and the number of the part
            where parts are objects.
        label: its class.
        truth: (frame, row, column) bool.
    """

    target: str
    label: str
    truth: Volume

    @property
    def pixels(self) -> int:
        """Its pixels on the frame where it is largest."""
        return int(self.truth.sum((1, 2)).max())


def run_task(task: Task, engine: Engine | Segmenter, protocol: Protocol) -> list[Row]:
    """All rows of one case; a case that cannot be read gives one row with the reason."""
    base: Row = {
        "model": task.model,
        "dataset": task.dataset,
        "case": task.case.id,
        "group": task.case.group or task.case.id,
        "split": task.case.split,
        "modality": task.case.modality or "",
    }
    start = time.perf_counter()
    try:
        stack = read_image(task.case)
        objects = list_objects(task.case, stack, protocol)
        base["kind"] = stack.kind
        rows = [{**base, **row} for row in _rows(stack, objects, task, engine, protocol)]
    except SegscopeError as error:
        base.pop("kind", None)
        rows = [{**base, "failed": str(error)}]
    for row in rows[-1:]:
        row["task_seconds"] = round(time.perf_counter() - start, 3)
        row["peak_bytes"] = peak_bytes()
    return rows


def rules_for(protocol: Protocol, stack: Stack) -> StopRules | None:
    """When tracking ends by itself, as in `segscope.segment`."""
    if protocol.stop_rules:
        return default_rules(stack)
    return None


def peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    unit = 1024
    if sys.platform == "darwin":
        unit = 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def seeded_generator(*parts: object) -> np.random.Generator:
    """A random generator that depends on `parts` and on nothing else."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))


def list_objects(case: Case, stack: Stack, protocol: Protocol) -> list[EvaluatedObject]:
    """Objects of a case that the protocol asks for."""
    objects: list[EvaluatedObject] = []
    for number, target in enumerate(case.targets):
        objects += _objects_of(target, number, stack, protocol)
    if protocol.labels:
        objects = [entry for entry in objects if entry.label in protocol.labels]
    least = max(protocol.least_pixels, 1)
    return [entry for entry in objects if entry.truth.sum() >= least]


def _objects_of(
    target: DatasetTarget, number: int, stack: Stack, protocol: Protocol
) -> Iterator[EvaluatedObject]:
    masks = read_target(target, stack)
    for object_id in masks.object_ids:
        truth = masks.of(object_id)
        label = masks.names[object_id] or target.label
        name = f"{number}:{object_id}"
        if not protocol.parts or target.kind == "instance":
            yield EvaluatedObject(name, label, truth)
            continue
        labels, count = ndimage.label(truth, np.ones((3, 3, 3)))
        for part in range(1, count + 1):
            yield EvaluatedObject(f"{name}:{part}", label, labels == part)


def sample_objects(
    objects: list[EvaluatedObject], task: Task, protocol: Protocol
) -> list[EvaluatedObject]:
    """At most `protocol.objects` of them, sampled by a seed that depends on the case only."""
    if not protocol.objects or len(objects) <= protocol.objects:
        return objects
    rng = seeded_generator(protocol.seed, task.dataset, task.case.id, "objects")
    chosen = rng.choice(len(objects), protocol.objects, replace=False).tolist()
    return [objects[index] for index in sorted(chosen)]


def _rows(
    stack: Stack,
    objects: list[EvaluatedObject],
    task: Task,
    engine: Engine | Segmenter,
    protocol: Protocol,
) -> Iterator[Row]:
    for degrade in protocol.degrade:
        degraded = _degrade(stack, degrade, task, protocol)
        if isinstance(engine, Segmenter):
            rows = _score_segmenter(degraded, objects, engine, protocol)
        else:
            rows = _score_prompts(degraded, objects, task, engine, protocol)
        yield from ({"degrade": degrade, **row} for row in rows)


def _degrade(stack: Stack, name: str, task: Task, protocol: Protocol) -> Stack:
    degradation = parse_degrade(name)
    if degradation is None:
        return stack
    rng = seeded_generator(protocol.seed, task.dataset, task.case.id, name)
    source = Degraded(stack.source, *degradation, int(rng.integers(2**31)))
    return replace(stack, source=source)


def _score_segmenter(
    stack: Stack, objects: list[EvaluatedObject], engine: Segmenter, protocol: Protocol
) -> Iterator[Row]:
    """A row for each class of a network without prompts."""
    truths = merge_classes(objects)
    start = time.perf_counter()
    predictions = predict_classes(stack, engine, truths)
    seconds = time.perf_counter() - start
    setting = replace(protocol.setting(stack.kind), mode="track", skip="none")
    for label, mask in predictions.items():
        truth = truths[label]
        state = Round(1, mask, frozenset(range(len(stack))), math.nan, None, 0, seconds)
        head = {"label": label, "object": f"class:{label}", "pixels": int(truth.sum((1, 2)).max())}
        scores = _score_round(stack, state, truth, setting)
        yield {**head, "prompt": NO_PROMPT, "choose": "predicted", "seed": protocol.seed, **scores}


def predict_classes(
    stack: Stack, engine: Segmenter, truths: Mapping[str, Volume]
) -> dict[str, Volume]:
    """Masks by a network without prompts, of each class that it shares with the truth.

    If both have a single class, these are the same class, whatever their names.
    """
    masks = everything(stack, engine)
    numbers = {name: number for number, name in masks.names.items()}
    if len(numbers) == len(truths) == 1:
        numbers = dict(zip(truths, numbers.values(), strict=True))
    return {label: masks.of(numbers[label]) for label in truths if label in numbers}


def _score_prompts(
    stack: Stack,
    objects: list[EvaluatedObject],
    task: Task,
    engine: Engine,
    protocol: Protocol,
) -> Iterator[Row]:
    """Rows of all plans of a promptable network on one case."""
    setting = protocol.setting(stack.kind)
    for plan in setting.prompts:
        if plan.opening == "everything":
            yield {"prompt": str(plan), **_score_everything(stack, objects, engine)}
    if task.examples and stack.kind == "image":
        truths = {label: truth[0] for label, truth in merge_classes(objects).items()}
        head: Row = {"prompt": f"in-context:{setting.context}", "seed": protocol.seed}
        for row in in_context(stack, truths, task.examples, engine, setting.metrics):
            yield {**head, **row}
    plans = [plan for plan in setting.prompts if plan.opening != "everything"]
    if not plans or not objects:
        return
    with Interaction(stack, engine, overlap="keep") as start:
        for entry in sample_objects(objects, task, protocol):
            head = {"label": entry.label, "object": entry.target, "pixels": entry.pixels}
            for plan in plans:
                for row in _score_plan(start, plan, entry, task, protocol):
                    yield {**head, **row}


def merge_classes(objects: list[EvaluatedObject]) -> dict[str, Volume]:
    """The objects of each class together."""
    classes: dict[str, Volume] = {}
    for entry in objects:
        classes[entry.label] = classes.get(entry.label, False) | entry.truth
    return classes


def _score_plan(
    start: Interaction,
    plan: Plan,
    entry: EvaluatedObject,
    task: Task,
    protocol: Protocol,
) -> Iterator[Row]:
    """Rows of one plan on one object, for each choice of mask and each seed."""
    setting = protocol.setting(start.stack.kind)
    choices = setting.choose
    if not plan.opening.startswith(("click", "points")):
        choices = ("predicted",)  # only a single click has several masks to choose from
    for choose in choices:
        options = RolloutOptions(setting, choose, rules_for(protocol, start.stack))
        for seed in range(protocol.seed, protocol.seed + protocol.seeds):
            rng = seeded_generator(seed, task.dataset, task.case.id, entry.target, str(plan))
            unused = rng.bit_generator.state
            head = {"prompt": str(plan), "choose": choose, "seed": seed}
            for state in roll_out(start, plan, entry.truth, rng, options):
                yield {**head, **_score_state(start.stack, state, entry.truth, protocol)}
            if rng.bit_generator.state == unused:
                break  # the plan is deterministic: other seeds would give the same rows


def _score_state(stack: Stack, state: Round, truth: Volume, protocol: Protocol) -> Row:
    """Scores after a round, with those that only tracked stacks or the challenge have."""
    setting = protocol.setting(stack.kind)
    row = _score_round(stack, state, truth, setting)
    if stack.kind != "image" and setting.mode != "frames":
        row |= split_dice(state, truth)
    if protocol.cvpr25 and stack.kind == "volume":
        overlap, surface = challenge_round(state.predicted, truth, stack.spacing_zyx_mm)
        row["challenge_dice"] = overlap
        row["challenge_nsd"] = surface
    return row


def _score_round(stack: Stack, state: Round, truth: Volume, setting: Setting) -> Row:
    every = list(range(len(truth)))
    frames = [frame for frame in every if _is_scored(frame, state, stack, setting)] or every
    predicted = state.predicted[frames]
    true = truth[frames]
    spacing: tuple[float, ...] | None = stack.spacing_zyx_mm
    if stack.kind == "image":
        predicted = predicted[0]
        true = true[0]
        if spacing is not None:
            spacing = spacing[1:]
    scores = score(predicted, true, spacing, metrics=setting.metrics)
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


def split_dice(state: Round, truth: Volume) -> Row:
    """Dice of prompted frames and of the others; NaN where the object is on none of them."""
    prompted = np.isin(np.arange(len(truth)), list(state.prompted))
    row: Row = {}
    for name, frames in zip(SPLIT_DICE, (prompted, ~prompted), strict=True):
        row[name] = math.nan
        if truth[frames].any():
            row[name] = dice(state.predicted[frames], truth[frames])
    return row


def _is_scored(frame: int, state: Round, stack: Stack, setting: Setting) -> bool:
    if stack.kind == "image":
        return True
    if setting.mode == "frames":
        return frame in state.prompted
    if setting.skip == "prompted":
        return frame not in state.prompted
    return setting.skip == "none" or frame not in (0, len(stack) - 1)


def _score_everything(stack: Stack, objects: list[EvaluatedObject], engine: Engine) -> Row:
    """One row for the whole image: how well objects are detected, and the oracle union."""
    start = time.perf_counter()
    masks = everything(stack, engine)
    seconds = time.perf_counter() - start
    labels = masks.frame_labels(0)
    truth: NDArray[np.int32] = np.zeros(stack.size_hw, np.int32)
    for number, entry in enumerate(objects, start=1):
        truth[entry.truth[0]] = number
    half, strict = instance_scores(labels, truth, thresholds=(0.5, 0.75))
    return {
        "object": "all",
        "choose": "predicted",
        "round": 1,
        "prompts": 0,
        "objects_true": len(objects),
        "objects_found": len(masks.object_ids),
        "ap@50": half.ap,
        "f1@50": half.f1,
        "precision@50": half.precision,
        "recall@50": half.recall,
        "pq": half.pq,
        "ap@75": strict.ap,
        "aji": aggregated_jaccard(labels, truth),
        "oracle_union_dice": oracle_union(labels, truth > 0),
        "seconds": round(seconds, 4),
    }


def oracle_union(labels: LabelMap, truth: NDArray[np.bool_]) -> float:
    """Dice of the union of all masks with more than 90 % of their area inside the truth (arXiv
    2412.01240, "auto").
    """
    area = np.bincount(labels.ravel(), minlength=int(labels.max()) + 1)
    inside = np.bincount(labels[truth], minlength=len(area))
    accepted = (inside > 0.9 * area) & (np.arange(len(area)) > 0)
    return dice(accepted[labels], truth)
