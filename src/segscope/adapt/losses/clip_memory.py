"""Recall: what the objects of a clip are remembered by while they are carried from frame to frame,
with gradients.

The same banks as in prediction: prompted frames count from both sides, tracked ones only in the
direction in which they were passed; pointers of prompted frames count once they were passed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from segscope.models.engine import NO_HINT, Bank, Decoded, Engine, Features, Memory

ABSENT = -1024.0
"""Logit of every pixel of an object that is not on the frame, as prediction has it."""


@dataclass(eq=False)
class Recall:
    """Memories of O objects of one clip.

    Attributes:
        engine: whose they are.
        length: frames of the clip, or of the stack that it stands for.
        thrifty: whether attention is computed twice instead of kept for the way back.
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
        if self.thrifty:
            seen = again(engine.attend, features, banks)
        else:
            seen = engine.attend(features, banks)
        hints = [NO_HINT] * len(banks)
        if engine.uses_previous_logits:
            before = self.answers.get(frame - step)
            nothing = torch.full((1, 1), ABSENT, device=engine.device)
            lasts = [
                nothing if before is None else before.logits[k, 0].detach()
                for k in range(len(banks))
            ]
            hints = [replace(NO_HINT, last=last) for last in lasts]
        many = engine.multimask(0, tracking=True)
        return engine.decode(features, hints, multimask=many, conditioned=seen), seen

    def keep(self, features: Features, frame: int, answer: Decoded, step: int) -> None:
        """Remember an answer (M = 1) that tracking gave."""
        answer = gated(answer)
        self.answers[frame], self.passed[frame] = answer, step
        self.tracked[frame] = self.engine.remember(
            features, answer, prompted=[False] * len(answer.logits)
        )

    def anchor(self, features: Features, frame: int, answer: Decoded) -> None:
        """Remember an answer (M = 1) to prompts.

        Engines that look through windows answer prompts in windows of their own, so prediction
        hands their masks over as masks; here too.
        """
        if self.engine.card.zoom:
            masks = self.engine.to_frame(answer.logits[:, :1].detach(), features.size_hw) > 0
            _, self.anchors[frame] = self.engine.remember_masks(features, masks.float())
            self.answers[frame] = _plain(answer)
        else:
            answer = self.answers[frame] = gated(answer)
            self.anchors[frame] = self.engine.remember(
                features, answer, prompted=[True] * len(answer.logits)
            )

    def anchor_masks(self, features: Features, frame: int, masks: Tensor) -> Decoded:
        """Take (O, row, column) masks as answers, remember them, and give them as such."""
        self.answers[frame], self.anchors[frame] = self.engine.remember_masks(
            features, masks[:, None].float()
        )
        return self.answers[frame]

    def detach(self) -> None:
        """Let no gradient flow further back than this."""
        for memories in (self.anchors, self.tracked):
            for frame, held in memories.items():
                memories[frame] = [
                    replace(one, map=one.map.detach(), pointer=one.pointer.detach()) for one in held
                ]

    def banks(self, frame: int, step: int) -> list[Bank]:
        """What each object's tracking attends to on a frame that is reached in direction `step`."""
        count = len(next(iter(self.anchors.values())))
        return [self._bank(k, frame, step) for k in range(count)]

    def _bank(self, k: int, frame: int, step: int) -> Bank:
        longest = min(self.length, self.engine.pointer_limit)
        anchors = [((frame - at) * step, self.anchors[at][k]) for at in sorted(self.anchors)]
        maps = [(0, memory) for _, memory in anchors]
        pointers = [(distance, memory) for distance, memory in anchors if distance >= 0]
        for distance in range(1, max(longest, self.engine.memory_frames)):
            past = frame - distance * step
            if past in self.anchors or self.passed.get(past) != step:
                continue
            if distance < self.engine.memory_frames:
                maps.append((distance, self.tracked[past][k]))
            if distance < longest:
                pointers.append((distance, self.tracked[past][k]))
        return Bank(maps, pointers, longest)


def again(function: Callable[..., Any], *given: Any) -> Any:
    """A function's value; what it computes on the way is computed anew when gradients need it."""
    if not torch.is_grad_enabled():
        return function(*given)
    return checkpoint(function, *given, use_reentrant=False)


def gated(answer: Decoded) -> Decoded:
    """An answer as prediction keeps it: empty for objects that the network says are not there."""
    answer = _plain(answer)
    if answer.object_score is None:
        return answer
    here = (answer.object_score > 0)[:, None, None, None]
    return replace(answer, logits=torch.where(here, answer.logits, ABSENT))


def _plain(answer: Decoded) -> Decoded:
    """An answer whose scores, which memory keeps as bare numbers, carry no gradient."""
    score = None
    if answer.object_score is not None:
        score = answer.object_score.detach()
    return replace(answer, iou=answer.iou.detach(), object_score=score)
