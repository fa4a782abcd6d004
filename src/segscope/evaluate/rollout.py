"""Play: one prompt plan on one object, round by round, as an annotator would; what was answered,
and what it cost.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from segscope.evaluate.protocol import Choice, Setting
from segscope.masks import FrameMask
from segscope.predict.propagation import Direction
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
        found: (frame, row, column) bool; where nothing is tracked, frames that were not prompted
            are empty.
        prompted: frames that were prompted so far.
        score: predicted IoU of the frame prompted last.
        true_iou: IoU on that frame; None where the frame holds nothing of the object.
        prompts: how many were given so far.
        seconds: of waiting for this round's answers, with what had to be encoded for them.
    """

    number: int
    found: Volume
    prompted: frozenset[int]
    score: float
    true_iou: float | None
    prompts: int
    seconds: float


def play(
    start: Interaction,
    plan: Plan,
    truth: Volume,
    rng: np.random.Generator,
    setting: Setting,
    choose: Choice = "predicted",
    rules: StopRules | None = None,
) -> Iterator[Round]:
    """The rounds of a plan on one object.

    Args:
        start: an interaction on the stack, for what it has encoded; it is not changed.
        plan: what is given first, and how it is corrected. Without a frame rule it begins on the
            largest slice of a volume and the first frame of a video that shows the object.
        truth: (frame, row, column) bool, not empty.
        rng: all chance of this play.
        setting: how the stack is tracked, and when to stop.
        choose: which of several masks for a lone click counts.
        rules: when tracking of the object ends by itself.
    """
    kind = start.stack.kind
    first = None
    if plan.frames is None and kind == "video":
        first = FrameRule("first").choose(truth)
    with start.fresh() as work:
        player = _Player(work, plan, truth, rng, setting, choose, rules)
        prompts: list[Prompt] = plan.first(truth, rng, frames=first)
        for number in range(1, plan.rounds + 1):
            if not prompts:
                return
            yield player.round(number, prompts)
            if number == plan.rounds or player.good():
                return
            prompts = player.next()


@dataclass(slots=True)
class _Player:
    work: Interaction
    plan: Plan
    truth: Volume
    rng: np.random.Generator
    setting: Setting
    choose: Choice
    rules: StopRules | None
    found: Volume = field(init=False)
    given: list[Prompt] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.found = np.zeros(self.truth.shape, bool)

    @property
    def tracks(self) -> bool:
        return self.work.stack.kind != "image" and self.setting.mode != "frames"

    @property
    def prompted(self) -> frozenset[int]:
        return frozenset(prompt.frame for prompt in self.given)

    def round(self, number: int, prompts: Sequence[Prompt]) -> Round:
        """Give prompts, correct the same frames if the setting says so, and track."""
        began = time.perf_counter()
        answer = self._say(prompts)
        for _ in range(1, self.setting.clicks):
            more = [
                click
                for frame in sorted({prompt.frame for prompt in prompts})
                for click in self._corrective().correct(
                    self.truth, self.found, self.rng, self.given, frame=frame
                )
            ]
            if not more:
                break
            answer = self._say(more)
        if self.tracks:
            self._track(answer.frame)
        seconds = time.perf_counter() - began
        there = bool(self.truth[answer.frame].any())
        true = overlap(self.found[answer.frame], self.truth[answer.frame]) if there else None
        return Round(
            number, self.found.copy(), self.prompted, answer.score, true, len(self.given), seconds
        )

    def next(self) -> list[Prompt]:
        """Prompts of the next round; none where nothing is left to correct."""
        if self.setting.mode == "online":
            after = max(self.prompted) + 1
            frames = (
                PAUSE.choose(self.truth[after:], self.found[after:])
                if after < len(self.truth)
                else []
            )
            if frames:
                return self._correct(after + frames[0])
            return []
        if self.setting.mode == "frames":
            return [prompt for frame in sorted(self.prompted) for prompt in self._correct(frame)]
        return self._correct(None)

    def good(self) -> bool:
        """Whether the answer is as good as the setting wants it."""
        frames = slice(None) if self.tracks else sorted(self.prompted)
        return (
            bool(self.setting.stop_iou)
            and overlap(self.found[frames], self.truth[frames]) >= self.setting.stop_iou
        )

    def _correct(self, frame: int | None) -> list[Prompt]:
        return self.plan.correct(self.truth, self.found, self.rng, self.given, frame=frame)

    def _corrective(self) -> Plan:
        """The plan itself, or clicks where it has no corrections."""
        if self.plan.corrections:
            return self.plan
        return replace(Plan.parse("clicks:2"), noise=self.plan.noise)

    def _say(self, prompts: Sequence[Prompt]) -> FrameMask:
        answer = self.work.add(*self._united(prompts))
        self.given += prompts
        for frame in {prompt.frame for prompt in prompts}:
            here = answer if frame == answer.frame else self.work.frame_mask(frame, 1)
            if here is not None:
                self.found[frame] = _mask(here, self.truth[frame], self.choose)
        return answer

    def _united(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Several boxes for one object on one frame (`box.multi`) as the union of their answers: a
        mask.
        """
        said: list[Prompt] = [prompt for prompt in prompts if not isinstance(prompt, Box)]
        boxes = [prompt for prompt in prompts if isinstance(prompt, Box)]
        for frame in dict.fromkeys(box.frame for box in boxes):
            here = [box for box in boxes if box.frame == frame]
            if len(here) == 1:
                said += here
                continue
            union = np.zeros(self.truth.shape[1:], bool)
            for box in here:
                with self.work.fresh() as one:
                    union |= one.add(box).mask
            said.append(MaskPrompt(union, frame))
        return said

    def _track(self, frame: int) -> None:
        if self.setting.mode == "online":
            steps = self.work.propagate(
                "forward", start=frame, within=(frame, len(self.truth) - 1), rules=self.rules
            )
        else:
            usual: Direction = "both" if self.work.stack.kind == "volume" else "forward"
            self.found[:] = False
            steps = self.work.propagate(self.setting.direction or usual, rules=self.rules)
        for found in steps:
            self.found[found.frame] = found.mask
        if (
            self.setting.mode == "track"
        ):  # frames that tracking did not reach keep what was said on them
            for at in self.prompted:
                here = self.work.frame_mask(at, 1)
                self.found[at] = False if here is None else here.mask


def _mask(answer: FrameMask, truth: NDArray[np.bool_], choose: Choice) -> NDArray[np.bool_]:
    """The mask that counts: the answer, or the best of it and its alternatives by the truth."""
    if choose == "predicted" or not answer.candidates:
        return answer.mask
    masks = [answer.mask, *(logits > 0 for logits, _ in answer.candidates)]
    return max(masks, key=lambda mask: overlap(mask, truth))


def overlap(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """IoU; 1 where both are empty."""
    union = int((found | truth).sum())
    if union:
        return int((found & truth).sum()) / union
    return 1.0
