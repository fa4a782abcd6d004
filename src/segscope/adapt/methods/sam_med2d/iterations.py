"""Interactive training of SAM-Med2D: one opening iteration, then iterations on the errors of the
one before.

The iterations of an image follow each other either inside one loss (one step of the optimiser for
all), or, as published, each in a step of its own; then an encoded image waits in `adapted.memo`
between steps.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segscope.adapt.data.sampler import Example, on_grid
from segscope.adapt.losses.mask_losses import dice_loss, focal, presence_loss
from segscope.adapt.method import Adapted, Terms
from segscope.adapt.methods.sam_med2d.prompts import (
    draw_box,
    draw_click,
    draw_corrections,
    draw_objects,
)
from segscope.errors import UsageError
from segscope.inference.constants import CLAMP
from segscope.inference.prompted_masks import decoder_prompt
from segscope.models.engine import NO_PROMPT, DecoderPrompt, Engine, Features

FOCAL = 20.0
PRESENCE = 0.05
OTHERS = 0.1
POINTS = (1, 3, 5, 9)
MANY = 99  # clicks
PROMPT_ENCODER = ("prompt_encoder.", "dense_branch.")


@dataclass(frozen=True)
class IterationPlan:
    """How iterations follow each other.

    Attributes:
        passes: number of iterations.
        deep: first iterations whose gradient reaches the encoder.
        keep_points: whether clicks stay in later iterations, else new ones replace them.
        own: opening prompts drawn here as published (box of the largest part, or one click), else
            the example's.
        masks: objects drawn for an image, with replacement; 0 for each of the example's once.
        chosen: of three candidates, whether only the one with the highest predicted IoU is trained,
            as published; else the best one, the others a little, and every predicted IoU.
    """

    passes: int = 9
    deep: int = 2
    keep_points: bool = True
    own: bool = False
    masks: int = 0
    chosen: bool = False

    def is_mask_only(self, number: int, lone: int) -> bool:
        """Whether iteration `number` has earlier logits as its only prompt: the last one does, and
        one drawn for the image.
        """
        return number in (lone, self.passes - 1)


@dataclass(eq=False)
class PendingExample:
    """One image between two iterations.

    Attributes:
        features: on the grid.
        truth: (O, row, column) bool on the device.
        hints: of each object, for the next iteration.
        lone: the iteration, besides the last one, that has earlier logits as its only prompt.
    """

    features: Features
    truth: Tensor
    hints: list[DecoderPrompt]
    lone: int

    def as_memo(self) -> dict[str, Any]:
        """Tensors and plain values; the keys are part of the state of a run."""
        return {
            "maps": list(map(Tensor.detach, self.features.maps)),
            "position": self.features.position,
            "size": list(self.features.size_hw),
            "truth": self.truth,
            "lone": self.lone,
            "hints": list(map(_prompt_as_memo, self.hints)),
        }

    @classmethod
    def from_memo(cls, memo: Mapping[str, Any], device: torch.device) -> PendingExample:
        maps = tuple(item.to(device) for item in memo["maps"])
        position = memo["position"]
        if position is not None:
            position = position.to(device)
        rows, columns = memo["size"]
        features = Features(maps, (rows, columns), position)
        hints = [_prompt_from_memo(item, device) for item in memo["hints"]]
        return cls(features, memo["truth"].to(device), hints, memo["lone"])


def _prompt_as_memo(hint: DecoderPrompt) -> dict[str, Any]:
    return {
        "points": torch.from_numpy(hint.points),
        "positive": torch.from_numpy(hint.positive),
        "box": None if hint.box is None else list(hint.box),
        "previous": hint.previous,
    }


def _prompt_from_memo(memo: Mapping[str, Any], device: torch.device) -> DecoderPrompt:
    box = memo["box"]
    if box is not None:
        box = tuple(box)
    points = memo["points"].cpu().numpy()
    positive = memo["positive"].cpu().numpy()
    return DecoderPrompt(points, positive, box, memo["previous"].to(device))


def loss_of_all(adapted: Adapted, batch: Sequence[Example], plan: IterationPlan) -> Terms:
    """Mean loss of all iterations of each image."""
    losses = []
    dice = []
    for example in batch:
        pending = _begin(adapted, example, plan)
        each = []
        for number in range(plan.passes):
            if number == plan.deep:
                pending.features = _detach(pending.features)
            loss, score = _iterate(adapted, pending, number, plan, example.rng)
            each.append(loss)
            if number == 0:
                dice.append(score)
        losses.append(torch.stack(each).mean())
    return {"loss": torch.stack(losses).mean(), "dice": torch.stack(dice).mean()}


def loss_of_next(adapted: Adapted, batch: Sequence[Example], plan: IterationPlan) -> Terms:
    """Mean loss of one iteration; images change only when all their iterations are done.

    Several processes that are stopped between the iterations of an image resume with the first
    one's images.

    Raises:
        UsageError: the batch is processed in parts.
    """
    memo = adapted.memo
    seed = torch.initial_seed()
    if memo.get("seed") == seed:
        raise UsageError(
            "training with one step per iteration keeps images between steps; "
            "leave --accumulate at 1"
        )
    number = int(memo.get("pass", 0))
    if number == 0:
        pending = [_begin(adapted, example, plan) for example in batch]
    else:
        device = adapted.engine.device
        pending = [PendingExample.from_memo(item, device) for item in memo["going"]]
    losses = []
    dice = []
    for each, example in zip(pending, batch, strict=True):
        loss, score = _iterate(adapted, each, number, plan, example.rng)
        losses.append(loss)
        dice.append(score)
    coming = (number + 1) % plan.passes
    stored = []
    if coming:
        stored = list(map(PendingExample.as_memo, pending))
    memo.update({"seed": seed, "pass": coming, "going": stored})
    return {"loss": torch.stack(losses).mean(), "dice": torch.stack(dice).mean()}


def _begin(adapted: Adapted, example: Example, plan: IterationPlan) -> PendingExample:
    """An image with its opening prompts; all its objects get clicks, or boxes, as published."""
    features = on_grid(adapted.features(example), example)[example.at]
    rng = example.rng
    truth = example.truth[:, example.at]
    members = draw_objects(len(truth), plan.masks, rng)
    boxed = bool(rng.random() < 0.5)
    hints = []
    for k in members:
        if not plan.own:
            hints.append(decoder_prompt(example.prompts[k]))
        elif boxed:
            hints.append(replace(NO_PROMPT, box=draw_box(truth[k], rng, largest=True)))
        else:
            xy, labels = draw_click(truth[k], rng)
            hints.append(DecoderPrompt(xy, labels == 1))
    lone = 1 + int(rng.integers(1, max(2, plan.passes - 2)))
    masks = torch.from_numpy(truth[members]).to(adapted.engine.device)
    return PendingExample(features, masks, hints, lone)


def _iterate(
    adapted: Adapted,
    pending: PendingExample,
    number: int,
    plan: IterationPlan,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Loss and mean Dice of one iteration over all objects; leaves the prompts of the next one."""
    encoder: list[nn.Parameter] = []
    if number:
        # the prompt encoder is trained by the opening iteration only: later ones have many clicks
        encoder = [
            item for name, item in adapted.trained.items() if name.startswith(PROMPT_ENCODER)
        ]
    with _frozen(encoder):
        answers = _decode_all(adapted.engine, pending, plan)
    losses = torch.stack([answer.loss for answer in answers])
    dice = [_dice(each.mask, truth) for each, truth in zip(answers, pending.truth, strict=True)]
    if number + 1 < plan.passes:
        mask_only = plan.is_mask_only(number + 1, pending.lone)
        for k, answer in enumerate(answers):
            truth = pending.truth[k]
            pending.hints[k] = _correct(pending.hints[k], answer, truth, mask_only, plan, rng)
    return losses.mean(), torch.stack(dice).mean()


@dataclass(frozen=True, eq=False)
class _Answer:
    """The answer for one object.

    Attributes:
        loss: of all its candidates.
        logits: (row, column) of the decoder, of the best candidate.
        mask: (row, column) bool on the grid.
    """

    loss: Tensor
    logits: Tensor
    mask: Tensor


def _decode_all(engine: Engine, pending: PendingExample, plan: IterationPlan) -> list[_Answer]:
    """Answers for all objects of an image, in the order of the objects."""
    answers: dict[int, _Answer] = {}
    features = pending.features
    for many, members in _group_by_candidates(engine, pending.hints).items():
        hints = [pending.hints[k] for k in members]
        decoded = engine.decode(features, hints, multimask=many)
        full = engine.to_frame(decoded.logits, features.size_hw)
        loss = _candidate_loss(full, pending.truth[members], decoded.iou, chosen=plan.chosen)
        if decoded.object_score is not None:
            present = torch.ones(len(members), dtype=torch.bool, device=engine.device)
            loss = loss + PRESENCE * presence_loss(decoded.object_score, present)
        best = decoded.iou.detach().argmax(1).tolist()
        for row, k in enumerate(members):
            logits = decoded.logits[row, best[row]].detach().float()
            answers[k] = _Answer(loss[row], logits, full[row, best[row]].detach() > 0)
    return [answers[k] for k in range(len(pending.hints))]


def _correct(
    hint: DecoderPrompt,
    answer: _Answer,
    truth: Tensor,
    mask_only: bool,
    plan: IterationPlan,
    rng: np.random.Generator,
) -> DecoderPrompt:
    """The prompt after an answer: its logits, and clicks into its errors unless the logits are the
    only prompt.
    """
    previous = answer.logits.clamp(-CLAMP, CLAMP)
    if mask_only:
        # earlier clicks are dropped too: iterations that follow start from the mask
        return replace(NO_PROMPT, previous=previous)
    count = int(rng.choice(POINTS))
    xy, labels = draw_corrections(truth.cpu().numpy(), answer.mask.cpu().numpy(), count, rng)
    # unused points would be encoded as "not a point"; an engine is given none instead
    used = labels >= 0
    xy = xy[used]
    positive = labels[used] == 1
    if not plan.keep_points:
        return DecoderPrompt(xy, positive, None, previous)
    xy = np.concatenate([hint.points, xy])
    positive = np.concatenate([hint.positive, positive])
    return DecoderPrompt(xy, positive, hint.box, previous)


def _group_by_candidates(engine: Engine, hints: Sequence[DecoderPrompt]) -> dict[bool, list[int]]:
    """Objects for which three candidates are decoded, and those with one."""
    groups: dict[bool, list[int]] = {}
    for k, hint in enumerate(hints):
        clicks = hint.clicks
        if hint.previous is not None:
            # as in use, only engines that always decode three do so after an earlier answer
            clicks = MANY
        groups.setdefault(engine.multimask(clicks, tracking=False), []).append(k)
    return groups


def _candidate_loss(logits: Tensor, truth: Tensor, iou: Tensor, *, chosen: bool) -> Tensor:
    """Loss of each object (O,) from its candidates: logits (O, M, row, column), truth (O, row,
    column), iou (O, M).
    """
    masks, scores = measure_candidates(logits, truth[:, None], iou)
    if chosen:
        best = iou.detach().argmax(1, keepdim=True)
        return (masks + scores).gather(1, best)[:, 0]
    loss = masks.min(1).values
    if masks.shape[1] > 1:
        loss = loss + OTHERS * masks.mean(1)
    return loss + scores.mean(1)


def measure_candidates(logits: Tensor, truth: Tensor, iou: Tensor) -> tuple[Tensor, Tensor]:
    """20 x focal + Dice, and the squared error of the predicted IoU, of each mask by itself; (...,
    row, column) to (...).

    The public code computes Dice and IoU over a whole batch, which teaches every candidate the same
    IoU.
    """
    inside = logits.detach().float().sigmoid()
    target = truth.float()
    both = (inside * target).sum((-2, -1))
    union = inside.sum((-2, -1)) + target.sum((-2, -1)) - both
    true_iou = both / union.clamp(min=1e-6)
    masks = FOCAL * focal(logits, truth) + dice_loss(logits, truth)
    return masks, (iou.float() - true_iou) ** 2


def _dice(mask: Tensor, truth: Tensor) -> Tensor:
    sizes = (mask.sum() + truth.sum()).float()
    return torch.where(sizes > 0, 2 * (mask & truth).sum() / sizes.clamp(min=1), 1.0)


def _detach(features: Features) -> Features:
    return replace(features, maps=tuple(map(Tensor.detach, features.maps)))


@contextlib.contextmanager
def _frozen(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Parameters that require no gradients inside the block."""
    frozen = list(parameters)
    try:
        for item in frozen:
            item.requires_grad_(False)
        yield
    finally:
        for item in frozen:
            item.requires_grad_(True)
