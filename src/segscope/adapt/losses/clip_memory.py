"""Clip memory: memories of the objects of a clip while they are tracked from frame to frame, with
gradients. Banks are those of prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from segscope.inference.memory_bank import TrackingStep, build_bank, decode_tracked
from segscope.memory import Fifo, Past
from segscope.models.engine import Bank, Decoded, Engine, Features, Memory

T = TypeVar("T")


@dataclass(eq=False)
class ClipMemory:
    """Memories of O objects of one clip.

    Attributes:
        engine: makes and reads them.
        length: frames of the clip, or of the stack that it stands for.
        thrifty: whether attention is computed twice instead of stored for the gradient.
        anchors: memories of prompted frames, by frame.
        tracked: memories of the others.
        passed: direction, 1 or -1, in which each of the others was tracked.
        answers: masks (M = 1) by frame.
    """

    engine: Engine
    length: int
    thrifty: bool = False
    anchors: dict[int, list[Memory]] = field(default_factory=dict)
    tracked: dict[int, list[Memory]] = field(default_factory=dict)
    passed: dict[int, int] = field(default_factory=dict)
    answers: dict[int, Decoded] = field(default_factory=dict)

    def track(self, features: Features, frame: int, step: int) -> tuple[Decoded, Tensor]:
        """Answers for a frame without prompts, tracked from frame - step, and the map they were
        decoded from.
        """
        engine = self.engine
        banks = self.banks(frame, step)
        attend = engine.attend
        if self.thrifty:
            attend = partial(checkpointed, engine.attend)
        conditioned = attend(features, banks)
        before = self.answers.get(frame - step)
        previous: list[Tensor | None] = [None] * len(banks)
        if before is not None:
            previous = list(map(Tensor.detach, before.logits[:, 0]))
        return decode_tracked(engine, features, conditioned, previous), conditioned

    def store(
        self,
        features: Features,
        frame: int,
        answer: Decoded,
        step: int,
    ) -> None:
        """Remember an answer (M = 1) that tracking gave."""
        answer = answer.detach_scores().present()
        self.answers[frame] = answer
        self.passed[frame] = step
        self.tracked[frame] = self.engine.remember(
            features, answer, prompted=[False] * len(answer.logits)
        )

    def anchor(self, features: Features, frame: int, answer: Decoded) -> None:
        """Remember an answer (M = 1) to prompts.

        Engines with a window rule answer prompts in windows other than that of tracking, so
        prediction hands their masks over as masks; here too.
        """
        answer = answer.detach_scores()
        if self.engine.window_rule is not None:
            masks = self.engine.to_frame(answer.logits[:, :1].detach(), features.size_hw) > 0
            _, self.anchors[frame] = self.engine.remember_masks(features, masks.float())
        else:
            answer = answer.present()
            self.anchors[frame] = self.engine.remember(
                features, answer, prompted=[True] * len(answer.logits)
            )
        self.answers[frame] = answer

    def anchor_masks(self, features: Features, frame: int, masks: Tensor) -> Decoded:
        """Take (O, row, column) masks as answers, remember them, and give them as such."""
        self.answers[frame], self.anchors[frame] = self.engine.remember_masks(
            features, masks[:, None].float()
        )
        return self.answers[frame]

    def detach(self) -> None:
        """Let no gradient flow further back than this."""
        for memories in (self.anchors, self.tracked):
            for frame, of_objects in memories.items():
                memories[frame] = list(map(_detached, of_objects))

    def banks(self, frame: int, step: int) -> list[Bank]:
        """What each object's tracking attends to on a frame that is reached in direction `step`."""
        count = len(next(iter(self.anchors.values())))
        at = TrackingStep(frame, step, self.length)
        return [build_bank(self.engine, _OfObject(self, k, step), at, Fifo()) for k in range(count)]


@dataclass(frozen=True, slots=True)
class _OfObject:
    """Memories of object `k` on one way; see `segscope.inference.memory_bank.ObjectMemories`."""

    clip: ClipMemory
    k: int
    direction: int

    @property
    def anchors(self) -> Collection[int]:
        return self.clip.anchors.keys()

    def is_tracked(self, frame: int) -> bool:
        return frame not in self.clip.anchors and self.clip.passed.get(frame) == self.direction

    def describe(self, frame: int, distance: int) -> Past:
        memory = self.load(frame)
        return Past(distance, memory.iou, memory.object_score, lambda _other: 1.0)

    def load(self, frame: int, *, pointer_only: bool = False) -> Memory:
        memories = self.clip.anchors.get(frame) or self.clip.tracked[frame]
        return memories[self.k]


def _detached(memory: Memory) -> Memory:
    return replace(memory, map=memory.map.detach(), pointer=memory.pointer.detach())


def checkpointed(function: Callable[..., T], *arguments: object) -> T:
    """A function's value; intermediate results are computed a second time when gradients need
    them.
    """
    if not torch.is_grad_enabled():
        return function(*arguments)
    return cast(T, checkpoint(function, *arguments, use_reentrant=False))
