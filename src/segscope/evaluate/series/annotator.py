"""The simulated annotator of a series: prompts and corrects each image until its mask is good
enough, accepts it, and goes on.

Every image is answered twice, without learning and with what was accepted before it. A mask below
the Dice that counts as good enough after the last round is drawn by hand: the truth is accepted
then. What is accepted does not depend on the answers without learning.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segscope.errors import SegscopeError
from segscope.evaluate.case_runner import peak_bytes, seeded_generator
from segscope.evaluate.protocol import Protocol, Setting
from segscope.evaluate.results_log import Row
from segscope.evaluate.rollout import RolloutOptions, Round, roll_out
from segscope.evaluate.series.images import ImageReader, Series, SeriesImage, order_images
from segscope.inference.learning.notes import count_learned
from segscope.inference.learning.observation import suits_grid
from segscope.metrics.overlap import dice
from segscope.models.engine import Engine
from segscope.session.examples import Examples
from segscope.session.examples.session_examples import examples_of
from segscope.session.interaction import Interaction
from segscope.simulate.plan import Plan
from segscope.stack import Stack

Mask = NDArray[np.bool_]
ACCEPTED_DICE = 0.9  # where the protocol names no IoU at which corrections stop


@dataclass(frozen=True, slots=True)
class SeriesTask:
    """A series in one order for one model."""

    model: str
    series: Series
    order: int

    @property
    def key(self) -> str:
        return f"{self.series.dataset}\t{self.series.label}\t{self.order}\t{self.model}"

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(image.case.image for image in self.series.images))


def accepted_dice(setting: Setting) -> float:
    """The Dice from which on a mask is accepted."""
    if not setting.stop_iou:
        return ACCEPTED_DICE
    return 2 * setting.stop_iou / (1 + setting.stop_iou)


def accepting_plan(plans: Sequence[Plan]) -> Plan:
    """The plan whose mask is accepted: the last one with corrections, or the last."""
    corrected = [plan for plan in plans if plan.corrections is not None]
    return (corrected or list(plans))[-1]


def run_series(task: SeriesTask, engine: Engine, protocol: Protocol) -> list[Row]:
    """Rows of a series: one for each image and plan, without and with learning. A series with a
    case that cannot be read gives one row with the reason.
    """
    head: Row = {
        "model": task.model,
        "dataset": task.series.dataset,
        "label": task.series.label,
        "order": task.order,
    }
    start = time.perf_counter()
    annotator = _Annotator(engine, protocol, task)
    try:
        rows = [{**head, **row} for row in annotator.go_through()]
    except SegscopeError as error:
        rows = [{**head, "case": annotator.case, "failed": str(error)}]
    rows[-1]["task_seconds"] = round(time.perf_counter() - start, 3)
    rows[-1]["peak_bytes"] = peak_bytes()
    return rows


class _Annotator:
    """Goes through the images of a series.

    Attributes:
        case: id of the one in work.
    """

    def __init__(self, engine: Engine, protocol: Protocol, task: SeriesTask) -> None:
        self.engine = engine
        self.task = task
        self.seed = protocol.seed
        self.plans = protocol.image.prompts
        self.least_dice = accepted_dice(protocol.image)
        stop_iou = self.least_dice / (2 - self.least_dice)
        self.setting = replace(protocol.image, stop_iou=stop_iou)
        self.case = ""

    def go_through(self) -> Iterator[Row]:
        reader = ImageReader()
        images = order_images(self.task.series, self.seed, self.task.order)
        with Examples(self.engine) as examples:
            for position, image in enumerate(images, start=1):
                self.case = image.case.id
                stack, truth = reader.read(image)
                rows, mask = self._annotate(image, stack, truth, examples)
                yield from ({"position": position, **row} for row in rows)
                label = self.task.series.label
                if suits_grid(mask):
                    examples.add(stack, mask, label=label, group=_group(image))

    def _annotate(
        self, image: SeriesImage, stack: Stack, truth: Mask, examples: Examples
    ) -> tuple[list[Row], Mask]:
        """Rows of a image, and the mask that is accepted in the end."""
        rows = []
        accepted = truth
        last = accepting_plan(self.plans)
        head: Row = {
            "case": image.case.id,
            "group": _group(image),
            "split": image.case.split,
            "modality": image.case.modality or "",
            "frame": image.frame,
            "object": image.object,
            "pixels": int(truth.sum()),
            "examples": len(examples),
        }
        with Interaction(stack, self.engine, overlap="keep") as start:
            for learning in (False, True):
                start.state.learning = None
                if learning:
                    start.state.learning = examples_of(stack, self.engine, examples)
                for plan in self.plans:
                    rounds = self._roll_out(start, plan, image, truth)
                    row = self._score(rounds, plan, truth)
                    rows.append({**head, "learning": learning, "prompt": str(plan), **row})
                    if learning and plan is last and row["accepted"]:
                        accepted = rounds[-1].predicted[0]
        return rows, accepted

    def _roll_out(
        self, start: Interaction, plan: Plan, image: SeriesImage, truth: Mask
    ) -> list[Round]:
        rng = seeded_generator(
            self.seed, self.task.series.dataset, image.case.id, image.object, str(plan)
        )
        options = RolloutOptions(self.setting)
        return list(roll_out(start, plan, truth[None], rng, options))

    def _score(self, rounds: list[Round], plan: Plan, truth: Mask) -> Row:
        """How good the first answer is, and how many rounds it takes until one is accepted; the
        most that the plan has where none is.
        """
        first = dice(rounds[0].predicted[0], truth)
        last = dice(rounds[-1].predicted[0], truth)
        accepted = last >= self.least_dice
        needed = plan.rounds
        if accepted:
            needed = rounds[-1].number
        return {
            "first_dice": first,
            "dice": last,
            "unchanged": first >= self.least_dice,
            "accepted": accepted,
            "rounds": needed,
            "learned": bool(count_learned(rounds[0].note)),
            "seconds": round(rounds[-1].seconds, 4),
        }


def _group(image: SeriesImage) -> str:
    return image.case.group or image.case.id
