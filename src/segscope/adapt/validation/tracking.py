"""Validation of what is tracked through stacks: Dice of the frames that nobody prompted, and of the
prompted one apart.

The run's first prompt is given on the frame with most of an object, which is tracked both ways as
users see it tracked, but only through the frames near the prompted one.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import filterfalse
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from segscope.adapt.data.training_set import Split
from segscope.adapt.method import Adapted
from segscope.adapt.validation.frames import spaced, validate
from segscope.adapt.validation.prediction import first_prompts, inference_state
from segscope.adapt.validation.scores import ValidationScores, average_patients
from segscope.masks import FrameMask
from segscope.metrics.overlap import dice
from segscope.predict.prompted_frame import answer_prompts
from segscope.predict.propagation import PropagationRange, propagate
from segscope.predict.state import ObjectState
from segscope.predict.stop_rules import default_rules
from segscope.prompts import Prompt

MOST = 12
"""Objects that a validation follows, evenly spaced in their order."""

REACH = 12
"""Frames on either side of the prompted one."""


class StackObject(NamedTuple):
    """An object on several frames of a stack: its case, plane and number there."""

    case: int
    plane: int
    value: int


class Tracked(NamedTuple):
    """An object as tracking answers it.

    Attributes:
        prompts: on the frame `at`.
        at: the prompted frame.
        answers: of frames near the prompted one, and of this, by frame.
        truth: (frame, row, column) bool of the whole stack.
    """

    prompts: list[Prompt]
    at: int
    answers: dict[int, FrameMask]
    truth: NDArray[np.bool_]


@torch.no_grad()
def validate_clips(
    adapted: Adapted, cases: Split, most: int = MOST, reach: int = REACH
) -> ValidationScores:
    """Dice of each patient on tracked frames, mean over its objects.

    Returns:
        Also "prompted", the mean Dice of the prompted frames; where there are no stacks, the usual
        scores.
    """
    objects = list(objects_of(cases))
    if not objects:
        return validate(adapted, cases)
    chosen = [objects[k] for k in spaced(len(objects), most)]
    scores = [score(track_object(adapted, cases, each, reach)) for each in chosen]
    patients = [cases.patient(each.case) for each in chosen]
    tracked = average_patients(
        (patient, value) for patient, (value, _) in zip(patients, scores, strict=True)
    )
    prompted = float(np.nanmean([value for _, value in scores]))
    return ValidationScores(tracked, {"prompted": prompted})


def objects_of(cases: Split) -> Iterator[StackObject]:
    """Every object that is on several frames of a stack."""
    frames: dict[StackObject, int] = {}
    for item in cases.items:
        for obj in item.objects:
            key = StackObject(item.case, obj.plane, obj.value)
            frames[key] = frames.get(key, 0) + 1
    return (key for key, number in frames.items() if number > 1)


def track_object(adapted: Adapted, cases: Split, which: StackObject, reach: int = REACH) -> Tracked:
    """Prompt an object on the frame with most of it, and track it both ways."""
    scan = cases.scans[which.case]
    truth = scan.planes[which.plane] == which.value
    at = int(truth.sum((1, 2)).argmax())
    low = max(0, at - reach)
    high = min(len(truth) - 1, at + reach)
    prompts = first_prompts(adapted.prompts, truth, at, (7, at, int(truth[at].sum())))
    track = ObjectState()
    rules = default_rules(scan.stack)
    nearby = PropagationRange("both", within=(low, high), rules=rules)
    answers: dict[int, FrameMask] = {}
    with inference_state(adapted, which.case, scan) as state:
        answer_prompts(state, track, 1, at, prompts)
        for frame_masks in propagate(state, {1: track}, nearby, lambda: False):
            answers.update({each.frame: each for each in frame_masks})
    return Tracked(prompts, at, answers, truth)


def score(tracked: Tracked) -> tuple[float, float]:
    """Dice of one object: mean over tracked frames where it is or is claimed, and of the prompted
    frame.
    """
    each = {
        frame: dice(answer.mask, tracked.truth[frame]) for frame, answer in tracked.answers.items()
    }
    prompted = each.pop(tracked.at)
    others = list(filterfalse(np.isnan, each.values()))
    if not others:
        return np.nan, prompted
    return float(np.mean(others)), prompted
