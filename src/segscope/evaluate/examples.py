"""Worst and median cases as images: repeated from their seeds, with prediction and truth drawn."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segscope.evaluate.case_runner import (
    NO_PROMPT,
    EvaluatedObject,
    list_objects,
    merge_classes,
    predict_classes,
    rules_for,
    seeded_generator,
)
from segscope.evaluate.protocol import KINDS, Protocol
from segscope.evaluate.results_log import Row
from segscope.evaluate.rollout import RolloutOptions, Volume, roll_out
from segscope.evaluate.rows import column_of, metrics_of, select, select_plain
from segscope.evaluate.workers import Load
from segscope.io.datasets.dataset import DataSet
from segscope.io.datasets.reading import read_image
from segscope.models.engine import Engine
from segscope.models.segmenter import Segmenter
from segscope.overlay import overlay
from segscope.prompts import Box
from segscope.render import Renderer
from segscope.session.interaction import Interaction
from segscope.stack import Kind, Stack

MOST_SETS = 12  # data sets whose worst and median case are drawn, for each model
TILE = 360  # longer side of the image of a case, in pixels
PREDICTION = 1  # object ids, for their colours
TRUTH = 2


class ExampleCase(TypedDict):
    """One case: "worst" or "median", a caption, and a PNG as base64."""

    kind: str
    text: str
    png: str


class ExampleGroup(TypedDict):
    """Cases of one model."""

    title: str
    cases: list[ExampleCase]


def worst_and_median(
    last: Sequence[Row], datasets: Sequence[DataSet], protocol: Protocol, load: Load
) -> Iterator[ExampleGroup]:
    """The worst and the median case of each data set and model.

    They are ranked by the first metric, of the first prompt of the kind of stack.
    """
    for model in dict.fromkeys(column_of(last, "model")):
        engine = None
        cases: list[ExampleCase] = []
        for dataset in datasets:
            ranked = _rank_rows(last, dataset.name, model, protocol)
            if not ranked or len(cases) >= 2 * MOST_SETS:
                continue
            engine = engine or load(model)
            for kind, row in (("worst", ranked[0]), ("median", ranked[len(ranked) // 2])):
                png = _draw_case(row, dataset, engine, protocol)
                cases.append({"kind": kind, "text": _caption(row), "png": png})
        if cases:
            title = model
            if not isinstance(engine, Segmenter):
                title = f"{model}, {', '.join(_first_prompts(protocol))}"
            yield {"title": title, "cases": cases}


def _caption(row: Row) -> str:
    metric = metrics_of([row])[0]
    label = row["label"] or "object"
    return f"{row['dataset']}: {label} of {row['case']}, {metric} {row[metric]:.2f}"


def _first_prompts(protocol: Protocol) -> list[str]:
    """The first prompt of each kind of stack, each once."""
    plans = [protocol.setting(kind).prompts for kind in KINDS]
    return list(dict.fromkeys(str(prompts[0]) for prompts in plans if prompts))


def _rank_rows(last: Sequence[Row], dataset: str, model: str, protocol: Protocol) -> list[Row]:
    """Scored rows of the first prompt of a data set and model, worst first."""
    first = {kind: _first_plan(protocol, kind) for kind in KINDS}
    plain = select(select_plain(last), dataset=dataset, model=model)
    rows = [row for row in plain if row["prompt"] in (first[row["kind"]], NO_PROMPT)]
    if not rows:
        return []
    metric = metrics_of(rows)[0]
    scored = [row for row in rows if not math.isnan(row[metric])]
    return sorted(scored, key=lambda row: (row[metric], row["case"]))


def _first_plan(protocol: Protocol, kind: Kind) -> str:
    """The first plan of a kind of stack that prompts objects; "" without any."""
    for plan in protocol.setting(kind).prompts:
        if plan.opening != "everything":
            return str(plan)
    return ""


def _draw_case(row: Row, dataset: DataSet, engine: Engine | Segmenter, protocol: Protocol) -> str:
    """Base64 of a PNG: prediction and truth on the frame where the truth is largest."""
    case = next(case for case in dataset.cases if case.id == row["case"])
    stack = read_image(case)
    objects = list_objects(case, stack, protocol)
    if isinstance(engine, Segmenter):
        truths = merge_classes(objects)
        truth = truths[row["label"]]
        predicted = predict_classes(stack, engine, truths)[row["label"]]
    else:
        entry = next(entry for entry in objects if entry.target == row["object"])
        truth = entry.truth
        predicted = _repeat_rollout(row, stack, entry, engine, protocol)
    frame = int(truth.sum((1, 2)).argmax())
    image = _draw_window(Renderer(stack, None)[frame], predicted[frame], truth[frame])
    out = io.BytesIO()
    Image.fromarray(image).save(out, format="PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def _draw_window(
    rgb: NDArray[np.uint8], predicted: NDArray[np.bool_], truth: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Both masks over the frame, cut around them."""
    x0, y0, x1, y1 = map(int, Box.around(predicted | truth).xyxy)
    margin = max(12, round(0.35 * max(x1 - x0, y1 - y0)))
    window = np.s_[max(y0 - margin, 0) : y1 + margin, max(x0 - margin, 0) : x1 + margin]
    crop = np.ascontiguousarray(rgb[window])
    scale = min(TILE / max(crop.shape[:2]), 8.0)
    masks = {PREDICTION: predicted[window], TRUTH: truth[window]}
    return overlay(crop, masks, scale=scale, fill=0.12)


def _repeat_rollout(
    row: Row,
    stack: Stack,
    entry: EvaluatedObject,
    engine: Engine,
    protocol: Protocol,
) -> Volume:
    setting = protocol.setting(stack.kind)
    plan = next(plan for plan in setting.prompts if str(plan) == row["prompt"])
    rng = seeded_generator(row["seed"], row["dataset"], row["case"], entry.target, row["prompt"])
    options = RolloutOptions(setting, rules=rules_for(protocol, stack))
    with Interaction(stack, engine, overlap="keep") as start:
        *_, state = roll_out(start, plan, entry.truth, rng, options)
    return state.predicted
