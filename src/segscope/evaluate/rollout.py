"""Rollout: one prompt plan on one object, round by round, as an annotator would proceed.

Each round gives the masks after it and what it cost.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from segscope.evaluate.protocol import MaskChoice, Setting
from segscope.masks import FrameMask
from segscope.predict.propagation import default_direction
from segscope.predict.stop_rules import StopRules
from segscope.prompts import Box, MaskPrompt, Prompt
from segscope.session.interaction import Interaction
from segscope.simulate.frames import FrameRule
from segscope.simulate.plan import Plan

Volume = NDArray[np.bool_]
PAUSE = FrameRule("below", 0.75)


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """State after one round of prompts.

    Attributes:
        number: from 1.
        predicted: (frame, row, column) bool; without tracking, frames without a prompt are empty.
        prompted: frames with a prompt so far.
        score: predicted IoU of the frame prompted last.
        true_iou: IoU on that frame; None where the object is not on that frame.
        prompts: number of prompts so far.
        seconds: time until this round's answers, encoding included.
        note: of the answer on the frame prompted last, see `FrameMask`.
    """

    number: int
    predicted: Volume
    prompted: frozenset[int]
    score: float
    true_iou: float | None
    prompts: int
    seconds: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class RolloutOptions:
    """How a rollout proceeds.

    Attributes:
        setting: how the stack is tracked, and when to stop.
        choose: which of several masks for a single click counts.
        rules: when tracking of the object ends by itself.
    """

    setting: Setting
    choose: MaskChoice = "predicted"
    rules: StopRules | None = None


def roll_out(
    start: Interaction,
    plan: Plan,
    truth: Volume,
    rng: np.random.Generator,
    options: RolloutOptions,
) -> Iterator[Round]:
    """The rounds of a plan on one object.

    Args:
        start: an interaction on the stack, whose encoded frames are used; it is not changed.
        plan: the first prompts, and how they are corrected. Without a frame rule it begins on the
            largest slice of a volume and the first frame of a video that shows the object.
        truth: (frame, row, column) bool, not empty.
        rng: source of all randomness of this rollout.
        options: see `RolloutOptions`.
    """
    first = None
    if plan.frames is None and start.stack.kind == "video":
        first = FrameRule("first").choose(truth)
    with start.fresh() as work:
        annotator = _Annotator(work, plan, truth, rng, options)
        prompts: list[Prompt] = plan.first(truth, rng, frames=first)
        for number in range(1, plan.rounds + 1):
            if not prompts:
                return
            yield annotator.answer_round(number, prompts)
            if number == plan.rounds or annotator.is_satisfied():
                return
            prompts = annotator.next_prompts()


@dataclass(slots=True)
class _Annotator:
    """The simulated annotator of one object: prompts so far, and the resulting masks."""

    work: Interaction
    plan: Plan
    truth: Volume
    rng: np.random.Generator
    options: RolloutOptions
    predicted: Volume = field(init=False)
    prompts: list[Prompt] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.predicted = np.zeros(self.truth.shape, bool)

    @property
    def setting(self) -> Setting:
        return self.options.setting

    @property
    def tracks(self) -> bool:
        return self.work.stack.kind != "image" and self.setting.mode != "frames"

    @property
    def prompted(self) -> frozenset[int]:
        return frozenset(prompt.frame for prompt in self.prompts)

    def answer_round(self, number: int, prompts: Sequence[Prompt]) -> Round:
        """Add prompts, correct the same frames if the setting says so, and track."""
        start = time.perf_counter()
        answer = self._add(prompts)
        frames = sorted({prompt.frame for prompt in prompts})
        for _ in range(1, self.setting.clicks):
            corrections = self._correct_frames(self._plan_with_corrections(), frames)
            if not corrections:
                break
            answer = self._add(corrections)
        if self.tracks:
            self._track(answer.frame)
        seconds = time.perf_counter() - start
        truth = self.truth[answer.frame]
        true_iou = None
        if truth.any():
            true_iou = overlap(self.predicted[answer.frame], truth)
        return Round(
            number=number,
            predicted=self.predicted.copy(),
            prompted=self.prompted,
            score=answer.score,
            true_iou=true_iou,
            prompts=len(self.prompts),
            seconds=seconds,
            note=answer.note,
        )

    def next_prompts(self) -> list[Prompt]:
        """Prompts of the next round; none where nothing is left to correct."""
        if self.setting.mode == "online":
            frame = self._next_bad_frame()
            if frame is None:
                return []
            return self._correct(self.plan, frame)
        if self.setting.mode == "frames":
            return self._correct_frames(self.plan, sorted(self.prompted))
        return self._correct(self.plan, None)

    def _next_bad_frame(self) -> int | None:
        """The first frame after the prompted ones where an annotator would pause the video."""
        after = max(self.prompted) + 1
        if after >= len(self.truth):
            return None
        frames = PAUSE.choose(self.truth[after:], self.predicted[after:])
        if not frames:
            return None
        return after + frames[0]

    def is_satisfied(self) -> bool:
        """Whether the answer reaches the IoU at which the setting stops."""
        if not self.setting.stop_iou:
            return False
        if self.tracks:
            iou = overlap(self.predicted, self.truth)
        else:
            frames = sorted(self.prompted)
            iou = overlap(self.predicted[frames], self.truth[frames])
        return iou >= self.setting.stop_iou

    def _correct(self, plan: Plan, frame: int | None) -> list[Prompt]:
        return plan.correct(self.truth, self.predicted, self.rng, self.prompts, frame=frame)

    def _correct_frames(self, plan: Plan, frames: Sequence[int]) -> list[Prompt]:
        corrections: list[Prompt] = []
        for frame in frames:
            corrections += self._correct(plan, frame)
        return corrections

    def _plan_with_corrections(self) -> Plan:
        """The plan itself, or clicks where it has no corrections."""
        if self.plan.corrections:
            return self.plan
        return replace(Plan.parse("clicks:2"), noise=self.plan.noise)

    def _add(self, prompts: Sequence[Prompt]) -> FrameMask:
        answer = self.work.add(*self._unite_boxes(prompts))
        self.prompts += prompts
        for frame in {prompt.frame for prompt in prompts}:
            mask = self.work.frame_mask(frame, 1)
            if frame == answer.frame:
                mask = answer
            if mask is not None:
                self.predicted[frame] = _choose_mask(mask, self.truth[frame], self.options.choose)
        return answer

    def _unite_boxes(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """The prompts, with several boxes on one frame (`box.multi`) as one mask: the union of
        their answers.
        """
        united: list[Prompt] = [prompt for prompt in prompts if not isinstance(prompt, Box)]
        boxes = [prompt for prompt in prompts if isinstance(prompt, Box)]
        for frame in dict.fromkeys(box.frame for box in boxes):
            on_frame = [box for box in boxes if box.frame == frame]
            if len(on_frame) == 1:
                united += on_frame
            else:
                united.append(MaskPrompt(self._union_of(on_frame), frame))
        return united

    def _union_of(self, boxes: Sequence[Box]) -> NDArray[np.bool_]:
        union = np.zeros(self.truth.shape[1:], bool)
        for box in boxes:
            with self.work.fresh() as separate:
                union |= separate.add(box).mask
        return union

    def _track(self, frame: int) -> None:
        rules = self.options.rules
        if self.setting.mode == "online":
            within = (frame, len(self.truth) - 1)
            answers = self.work.propagate("forward", start=frame, within=within, rules=rules)
        else:
            direction = self.setting.direction or default_direction(self.work.stack)
            self.predicted[:] = False
            answers = self.work.propagate(direction, rules=rules)
        for answer in answers:
            self.predicted[answer.frame] = answer.mask
        if self.setting.mode == "track":
            self._restore_prompted()

    def _restore_prompted(self) -> None:
        """Prompted frames keep their masks where tracking did not reach them."""
        for frame in self.prompted:
            mask = self.work.frame_mask(frame, 1)
            self.predicted[frame] = False
            if mask is not None:
                self.predicted[frame] = mask.mask


def _choose_mask(
    answer: FrameMask, truth: NDArray[np.bool_], choose: MaskChoice
) -> NDArray[np.bool_]:
    """The mask that counts: the answer, or with "oracle" the best of it and its alternatives."""
    if choose == "predicted" or not answer.candidates:
        return answer.mask
    masks = [answer.mask, *(logits > 0 for logits, _ in answer.candidates)]
    return max(masks, key=lambda mask: overlap(mask, truth))


def overlap(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """IoU; 1 where both are empty."""
    union = int((predicted | truth).sum())
    if not union:
        return 1.0
    return int((predicted & truth).sum()) / union
