"""Validation while training: Dice of the run's first prompts on each object, answered as users are
answered; of classes, without prompts.

Lighter than the evaluator, which stands above this room: no corrections, and frames are judged one
by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segscope.adapt.data.training_set import CaseFrame, ObjectOnFrame, Split
from segscope.adapt.method import Adapted
from segscope.adapt.validation.prediction import first_prompts, inference_state
from segscope.adapt.validation.scores import ValidationScores, average_patients
from segscope.masks import FrameMask
from segscope.metrics.overlap import dice
from segscope.models.engine import Features
from segscope.models.segmenter import Segmenter
from segscope.predict.prompted_frame import answer_prompts
from segscope.predict.state import ObjectState
from segscope.prompts import Prompt

MOST = 64
"""Objects, or frames for class maps, of a validation, evenly spaced in their order."""


@torch.no_grad()
def validate(adapted: Adapted, cases: Split, most: int = MOST) -> ValidationScores:
    """Dice of each patient: mean over objects, or over classes where the result needs no prompt."""
    if isinstance(adapted.model, Segmenter):
        model = adapted.model
        return class_dice(cases, lambda _frame, rgb: model.predict(rgb), most)
    patients = [cases.patient(item.case) for _, item, _ in choose_objects(cases, most)]
    scores = [dice(answer.mask, truth) for _, answer, truth in answer_objects(adapted, cases, most)]
    return ValidationScores(average_patients(zip(patients, scores, strict=True)))


def choose_objects(cases: Split, most: int = MOST) -> list[tuple[int, CaseFrame, ObjectOnFrame]]:
    """Number, frame and object of what is validated."""
    every = [(number, item, obj) for number, item in enumerate(cases.items) for obj in item.objects]
    return [every[k] for k in spaced(len(every), most)]


def answer_objects(
    adapted: Adapted, cases: Split, most: int = MOST
) -> Iterator[tuple[list[Prompt], FrameMask, NDArray[np.bool_]]]:
    """Prompts, answer and true mask (row, column) of each object that is validated."""
    chosen = choose_objects(cases, most)
    for case, members in groupby(chosen, key=lambda each: each[1].case):
        scan = cases.scans[case]
        with inference_state(adapted, case, scan) as state:
            for number, item, obj in members:
                truth = scan.planes[obj.plane, item.frame] == obj.value
                seed = (6, number, obj.plane, obj.value)
                prompts = [
                    replace(prompt, frame=item.frame)
                    for prompt in first_prompts(adapted.prompts, truth[None], 0, seed)
                ]
                answer = answer_prompts(state, ObjectState(), 1, item.frame, prompts)
                yield prompts, answer, truth


def spaced(count: int, most: int) -> list[int]:
    """Numbers from 0 to below `count`, at most `most` of them, evenly spaced."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist()


def stored_features(adapted: Adapted, key: object, rgb: NDArray[np.uint8]) -> Features:
    """Features of a validation frame; stored by its key where the encoder does not change."""
    store = adapted.frozen_store
    if store is None:
        return adapted.engine.encode(rgb)
    return store.get_or_add(("val", key), lambda: [adapted.engine.encode(rgb)])[0]


def class_dice(
    cases: Split, predict: Callable[[int, NDArray[np.uint8]], Tensor], most: int = MOST
) -> ValidationScores:
    """Dice of classes on the frames where they are or are claimed: of each patient, the mean over
    its classes, and of each class, the mean over all frames ("dice NAME").

    Args:
        cases: to validate on.
        predict: number of a frame and its image (row, column, 3) to logits (class, row, column)
            at its size.
        most: frames that are validated.
    """
    scores: list[tuple[str, str, float]] = []
    for number in spaced(len(cases.items), most):
        item = cases.items[number]
        scan = cases.scans[item.case]
        planes = scan.planes[:, item.frame : item.frame + 1]
        truth = cases.class_map(planes, scan.names)[0]
        labels = predict(number, scan.rgb[item.frame]).argmax(0).cpu().numpy()
        for k, name in enumerate(cases.classes, 1):
            score = dice(labels == k, truth == k)
            scores.append((cases.patient(item.case), name, score))
    by_class = average_patients((name, score) for _, name, score in scores)
    by_patient: list[tuple[str, float]] = []
    for patient in dict.fromkeys(patient for patient, _, _ in scores):
        own = average_patients((name, score) for each, name, score in scores if each == patient)
        by_patient += [(patient, score) for score in own.values()]
    figures = {f"dice {name}": score for name, score in by_class.items()}
    return ValidationScores(average_patients(by_patient), figures)
