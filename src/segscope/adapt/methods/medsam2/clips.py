"""Clips of MedSAM2: which frames are prompted and corrected, and how a clip is run to its loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import starmap

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segscope.adapt.data.sampler import LEAST, Example, on_grid
from segscope.adapt.losses.clip_memory import ClipMemory
from segscope.adapt.losses.mask_losses import dice_loss, focal, presence_loss, true_iou
from segscope.adapt.method import Adapted, Terms
from segscope.inference.constants import CLAMP
from segscope.inference.prompted_masks import decoder_prompt
from segscope.models.engine import Decoded, Engine, stack_decoded
from segscope.prompts import MaskPrompt, Prompt
from segscope.simulate.plan import Plan

FOCAL = 20.0

AnswerLoss = Callable[[Engine, Decoded, Tensor, tuple[int, int]], Tensor]
"""From answers for O objects, truth (O, row, column) and the grid's size to (O,) losses."""


def answer_losses(
    engine: Engine, decoded: Decoded, truth: Tensor, size_hw: tuple[int, int]
) -> Tensor:
    """SAM 2's loss of each answer: 20 focal + Dice of the best mask, error of all predicted IoU,
    and presence.

    Args:
        decoded: O objects with M candidates.
        truth: (O, row, column) bool on the grid of `size_hw`; where an object is absent only
            presence counts.

    Returns:
        (O,) losses.
    """
    full = engine.to_frame(decoded.logits, size_hw)
    target = truth[:, None]
    masks = (FOCAL * focal(full, target) + dice_loss(full, target)).min(1).values
    scores = (decoded.iou.float() - true_iou(full, target)).abs().mean(1)
    present = truth.flatten(1).any(1)
    loss = torch.where(present, masks + scores, 0.0)
    if decoded.object_score is None:
        return loss
    return loss + presence_loss(decoded.object_score, present)


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """How clips are prompted, corrected and run; see `segscope.adapt.methods.medsam2.MedSam2`."""

    start: str
    second: float
    corrected: int
    by_truth: float
    truncate: int
    thrifty: bool


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """Prompts and corrections of a clip.

    Attributes:
        plan: of the prompts.
        objects: numbers of the example's objects that are segmented; all are present on the first
            prompted frame.
        initial: frames that are prompted before tracking, the first one first.
        corrected: frames that are corrected.
        order: (frame, direction) of the others as they are tracked; frames of `initial` among them
            are skipped.
    """

    plan: Plan
    objects: tuple[int, ...]
    initial: tuple[int, ...]
    corrected: tuple[int, ...]
    order: tuple[tuple[int, int], ...]


def draw_clip(example: Example, settings: ClipSettings) -> ClipPlan:
    """Draw the prompts and corrections of a clip, from the example's own generator."""
    rng = example.rng
    plan = example.plans[0]
    present: NDArray[np.bool_] = np.any(example.truth, axis=(2, 3))  # (object, frame)
    length = len(example.rgb)
    first = example.at
    frames = range(length)
    backward = [(frame, -1) for frame in range(first - 1, -1, -1)]
    if settings.start == "first":
        first = int(np.argmax(example.truth[0].sum((1, 2)) >= LEAST))
        frames = range(first, length)
        backward = []
    objects = np.flatnonzero(present[:, first])
    initial = [first]
    if len(frames) > 2 and rng.random() < settings.second:
        # a box needs an object to enclose, so the second frame also shows every object
        complete = [k for k in frames if k != first and present[objects, k].all()]
        if complete:
            initial.append(complete[int(rng.integers(len(complete)))])
    corrected: list[int] = []
    if plan.rounds > 1:
        corrected = _draw_corrected(initial, frames, settings.corrected, rng)
    forward = [(frame, 1) for frame in range(first + 1, length)]
    return ClipPlan(
        plan,
        tuple(objects.tolist()),
        tuple(initial),
        tuple(corrected),
        tuple(forward + backward),
    )


def _draw_corrected(
    initial: Sequence[int], frames: Sequence[int], most: int, rng: np.random.Generator
) -> list[int]:
    """Frames to correct: the prompted ones, and others up to a random number of `most` at most."""
    limit = max(len(initial), min(most, len(frames)))
    count = int(rng.integers(len(initial), limit + 1))
    rest = [frame for frame in frames if frame not in initial]
    order = rng.permutation(len(rest))[: count - len(initial)].tolist()
    return [*initial, *(rest[k] for k in order)]


@dataclass(eq=False)
class ClipRun:
    """One clip, from its prompts to the loss of all answers."""

    adapted: Adapted
    settings: ClipSettings
    example: Example
    plan: ClipPlan
    answer_loss: AnswerLoss = answer_losses
    losses: list[Tensor] = field(default_factory=list)  # of each answer, summed over objects
    prompted_dice: list[float] = field(default_factory=list)
    tracked_dice: list[float] = field(default_factory=list)

    def loss(self) -> Terms:
        """Sum over answers, divided by the number of objects; Dice of tracked and of prompted
        frames separately.
        """
        self.features = on_grid(self.adapted.features(self.example), self.example)
        truth = torch.from_numpy(self.example.truth[list(self.plan.objects)])
        self.truth = truth.to(self.adapted.engine.device)
        self.recall = ClipMemory(self.adapted.engine, len(self.features), self.settings.thrifty)
        for frame in self.plan.initial:
            self._prompt(frame)
        self._track_others()
        prompted = float(np.mean(self.prompted_dice or [1.0]))
        tracked = float(np.mean(self.tracked_dice or [prompted]))
        device = self.truth.device
        return {
            "loss": torch.stack(self.losses).sum() / len(self.truth),
            "dice": torch.tensor(tracked, device=device),
            "prompted": torch.tensor(prompted, device=device),
        }

    def _track_others(self) -> None:
        """Track the frames that are not prompted; gradients are cut every `truncate` frames."""
        frames = [each for each in self.plan.order if each[0] not in self.plan.initial]
        for done, (frame, step) in enumerate(frames):
            if self.settings.truncate and done and done % self.settings.truncate == 0:
                self.recall.detach()
            self._track(frame, step)

    def _prompt(self, frame: int) -> None:
        """Segment a frame from its prompts, correct it where planned, and remember it."""
        features = self.features[frame]
        prompts = [
            self.plan.plan.first(self._mask(k, frame)[None], self.example.rng)
            for k in range(len(self.truth))
        ]
        masks = [each.mask for group in prompts for each in group if isinstance(each, MaskPrompt)]
        if len(masks) == len(prompts) and len(self.features) > 1:
            stacked = torch.from_numpy(np.stack(masks)).to(self.adapted.engine.device)
            answer = self.recall.anchor_masks(features, frame, stacked)
            if frame not in self.plan.corrected:
                self._note(answer, frame, prompted=True)
                return
        else:
            count = len(prompts)
            answer = self._decode(frame, prompts, [None] * count, range(count), None)
        if frame in self.plan.corrected:
            answer = self._correct(frame, answer, prompts, None)
        self._note(answer, frame, prompted=True)
        if len(self.features) > 1:
            self.recall.anchor(features, frame, answer)

    def _track(self, frame: int, step: int) -> None:
        """Segment a frame from memory, correct it where planned, and remember it."""
        features = self.features[frame]
        decoded, conditioned = self.recall.track(features, frame, step)
        answer = self._judge(decoded, range(len(self.truth)), frame)
        if frame not in self.plan.corrected:
            self._note(answer, frame, prompted=False)
            self.recall.store(features, frame, answer, step)
            return
        source: Tensor | None = conditioned
        if self.adapted.engine.window_rule is not None:
            # engines that see crops correct without memory, in a crop around the answer
            source = None
        answer = self._correct(frame, answer, [[] for _ in self.truth], source)
        self._note(answer, frame, prompted=True)
        self.recall.anchor(features, frame, answer)

    def _correct(
        self,
        frame: int,
        answer: Decoded,
        prompts: list[list[Prompt]],
        conditioned: Tensor | None,
    ) -> Decoded:
        """An answer (M = 1) after all rounds of corrections; `conditioned` is the feature map that
        memory conditioned, if any. Corrections are added to `prompts`.
        """
        for _ in range(self.plan.plan.rounds - 1):
            wrong = self._add_corrections(frame, answer, prompts)
            if not wrong:
                break
            corrections = [prompts[k] for k in wrong]
            previous = [answer.logits[k, 0].detach().clamp(-CLAMP, CLAMP) for k in wrong]
            source = None if conditioned is None else conditioned[wrong]
            better = self._decode(frame, corrections, previous, wrong, source)
            parts = list(map(answer.pick, range(len(prompts))))
            for row, k in enumerate(wrong):
                parts[k] = better.pick(row)
            answer = stack_decoded(parts)
        return answer

    def _add_corrections(
        self, frame: int, answer: Decoded, prompts: list[list[Prompt]]
    ) -> list[int]:
        """Add corrections of an answer to the prompts of each object; which objects got any."""
        engine = self.adapted.engine
        rng = self.example.rng
        size_hw = self.features[frame].size_hw
        masks = engine.to_frame(answer.logits[:, 0].detach(), size_hw) > 0
        corrected = []
        for k, mask in enumerate(masks.cpu().numpy()):
            predicted = mask
            if rng.random() < self.settings.by_truth:
                predicted = np.zeros_like(mask)
            truth = self._mask(k, frame)
            more = self.plan.plan.correct(
                truth[None], predicted[None], rng, tuple(prompts[k]), frame=0
            )
            prompts[k] += more
            if more:
                corrected.append(k)
        return corrected

    def _decode(
        self,
        frame: int,
        prompts: Sequence[Sequence[Prompt]],
        previous: Sequence[Tensor | None],
        objects: Sequence[int],
        conditioned: Tensor | None,
    ) -> Decoded:
        """Answers (M = 1) to prompts, whose loss is added."""
        engine = self.adapted.engine
        pairs = zip(prompts, previous, strict=True)
        decoder_prompts = list(starmap(decoder_prompt, pairs))
        tracking = conditioned is not None
        many = all(engine.multimask(hint.clicks, tracking=tracking) for hint in decoder_prompts)
        if engine.window_rule and any(hint.previous is not None for hint in decoder_prompts):
            many = False
        features = self.features[frame]
        decoded = engine.decode(features, decoder_prompts, multimask=many, conditioned=conditioned)
        return self._judge(decoded, objects, frame)

    def _judge(self, decoded: Decoded, objects: Sequence[int], frame: int) -> Decoded:
        """Add the loss of an answer; its best candidates by predicted IoU."""
        truth = self.truth[list(objects), frame]
        size_hw = self.features[frame].size_hw
        self.losses.append(self.answer_loss(self.adapted.engine, decoded, truth, size_hw).sum())
        return decoded.best()

    def _note(self, answer: Decoded, frame: int, *, prompted: bool) -> None:
        """Add the Dice of an answer to the figures."""
        size_hw = self.features[frame].size_hw
        masks = self.adapted.engine.to_frame(answer.logits[:, 0].detach(), size_hw) > 0
        truth = self.truth[:, frame]
        if answer.object_score is not None and not prompted:
            masks = masks & (answer.object_score > 0)[:, None, None]
        both = (masks & truth).flatten(1).sum(1)
        sizes = masks.flatten(1).sum(1) + truth.flatten(1).sum(1)
        dice = torch.where(sizes > 0, 2 * both / sizes.clamp(min=1), 1.0).tolist()
        if prompted:
            self.prompted_dice += dice
        else:
            self.tracked_dice += dice

    def _mask(self, k: int, frame: int) -> NDArray[np.bool_]:
        return self.example.truth[self.plan.objects[k], frame]
