"""Worst and median cases as images: played again from their seeds, what was found and the truth
drawn on top.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from segscope.evaluate.case_runner import (
    NO_PROMPT,
    Thing,
    chance,
    classes_found,
    classes_of,
    objects,
    rules_for,
)
from segscope.evaluate.protocol import KINDS, Protocol
from segscope.evaluate.results_log import Row
from segscope.evaluate.rollout import Volume, play
from segscope.evaluate.rows import metrics_of
from segscope.evaluate.run import Load
from segscope.io.datasets.reading import DataSet, read_image
from segscope.models.segmenter import Segmenter
from segscope.overlay import overlay
from segscope.prompts import Box
from segscope.render import Renderer
from segscope.session.interaction import Interaction
from segscope.stack import Stack

SHOWN_SETS = 12  # data sets whose worst and median case are drawn, for each model
TILE = 360  # longer side of a image of a case, in pixels
FOUND, TRUTH = 1, 2  # object ids, for their colours


def worst_and_median(
    last: Sequence[Row], datasets: Sequence[DataSet], protocol: Protocol, load: Load
) -> Iterator[dict[str, Any]]:
    """Of each data set and model, by the first metric and the first prompt of the kind: title and
    images.
    """
    for model in dict.fromkeys(row["model"] for row in last):
        drawn: list[dict[str, str]] = []
        engine = None
        for dataset in datasets:
            rows = _of_first_prompt(last, dataset.name, model, protocol)
            if not rows or len(drawn) >= 2 * SHOWN_SETS:
                continue
            engine = engine or load(model)
            name = metrics_of(rows)[0]
            known = [row for row in rows if not math.isnan(row[name])]
            ranked = sorted(known, key=lambda row: (row[name], row["case"]))
            for kind, row in (
                {"worst": ranked[0], "median": ranked[len(ranked) // 2]}.items() if ranked else ()
            ):
                text = f"{dataset.name}: {row['label'] or 'object'} of {row['case']}, {name} {row[name]:.2f}"
                drawn.append(
                    {"kind": kind, "text": text, "png": _image(row, dataset, engine, protocol)}
                )
        if drawn:
            prompts = [
                str(protocol.setting(kind).prompts[0])
                for kind in KINDS
                if protocol.setting(kind).prompts
            ]
            without = isinstance(engine, Segmenter)
            yield {
                "title": model if without else f"{model}, {', '.join(dict.fromkeys(prompts))}",
                "cases": drawn,
            }


def _of_first_prompt(
    last: Sequence[Row], dataset: str, model: str, protocol: Protocol
) -> list[Row]:
    firsts = {
        kind: next(
            (str(plan) for plan in protocol.setting(kind).prompts if plan.opening != "everything"),
            "",
        )
        for kind in KINDS
    }
    return [
        row
        for row in last
        if (row["dataset"], row["model"], row["degrade"], row["choose"])
        == (dataset, model, "none", "predicted")
        and row["prompt"] in (firsts[row["kind"]], NO_PROMPT)
    ]


def _image(row: Row, dataset: DataSet, engine: Any, protocol: Protocol) -> str:
    """Base64 of a PNG: the object as it was found, on the frame where the truth is largest."""
    case = next(case for case in dataset.cases if case.id == row["case"])
    stack = read_image(case)
    things = objects(case, stack, protocol)
    if isinstance(engine, Segmenter):
        truths = classes_of(things)
        found = classes_found(stack, engine, truths)[row["label"]]
        truth = truths[row["label"]]
    else:
        thing = next(thing for thing in things if thing.target == row["object"])
        found = _again(row, dataset, stack, thing, engine, protocol)
        truth = thing.truth
    frame = int(truth.sum((1, 2)).argmax())
    rgb = Renderer(stack, None)[frame]
    one = found[frame]
    two = truth[frame]
    x0, y0, x1, y1 = (int(value) for value in Box.around(one | two).xyxy)
    margin = max(12, round(0.35 * max(x1 - x0, y1 - y0)))
    cut = np.s_[max(y0 - margin, 0) : y1 + margin, max(x0 - margin, 0) : x1 + margin]
    scale = min(TILE / max(rgb[cut].shape[:2]), 8.0)
    page = overlay(
        np.ascontiguousarray(rgb[cut]), {FOUND: one[cut], TRUTH: two[cut]}, scale=scale, fill=0.12
    )
    out = io.BytesIO()
    Image.fromarray(page).save(out, format="PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def _again(
    row: Row, dataset: DataSet, stack: Stack, thing: Thing, engine: Any, protocol: Protocol
) -> Volume:
    setting = protocol.setting(stack.kind)
    plan = next(plan for plan in setting.prompts if str(plan) == row["prompt"])
    rng = chance(row["seed"], dataset.name, row["case"], thing.target, row["prompt"])
    with Interaction(stack, engine, overlap="keep") as start:
        *_, state = play(
            start, plan, thing.truth, rng, setting, rules=rules_for(protocol, stack.kind)
        )
    return state.found
