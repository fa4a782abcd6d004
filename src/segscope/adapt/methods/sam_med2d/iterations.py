"""Interactive training of SAM-Med2D: one opening pass, then passes on the errors of the one before.

The passes of a image follow each other either inside one loss (one step of the optimiser for
all), or, as published, each in a step of its own; then a image's encoding waits in `adapted.memo`
between steps.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segscope.adapt.data.sampler import Example, on_grid
from segscope.adapt.losses.mask_losses import dice_loss, focal, presence_loss
from segscope.adapt.method import Adapted, Terms
from segscope.adapt.methods.sam_med2d.layers import drawn, error_points, one_point, shifted_box
from segscope.errors import UsageError
from segscope.inference.constants import CLAMP
from segscope.inference.decoder_prompts import decoder_prompt
from segscope.models.engine import NO_PROMPT, DecoderPrompt, Engine, Features

FOCAL = 20.0
PRESENCE = 0.05
OTHERS = 0.1
POINTS = (1, 3, 5, 9)
MANY = 99  # clicks


@dataclass(frozen=True)
class IterationPlan:
    """How passes go.

    Attributes:
        passes: in all.
        deep: first passes whose gradient reaches the encoder.
        keep_points: whether clicks stay in later passes, else new ones take their place.
        own: opening prompts drawn here as published (box of the largest part, or one click), else
            the example's.
        masks: objects drawn for a image, with replacement; 0 for each of the example's once.
        chosen: of three candidates, whether only the one with the highest predicted IoU learns, as
            published; else the best one, the others a little, and every predicted IoU.
    """

    passes: int = 9
    deep: int = 2
    keep_points: bool = True
    own: bool = False
    masks: int = 0
    chosen: bool = False


@dataclass(eq=False)
class PendingExample:
    """One image between two passes.

    Attributes:
        features: on the grid.
        truth: (O, row, column) bool on the device.
        hints: of each object, for the next pass.
        lone: the pass beside the last one that is given earlier logits only.
    """

    features: Features
    truth: Tensor
    hints: list[DecoderPrompt]
    lone: int

    def as_memo(self) -> dict[str, Any]:
        """Tensors and plain values."""
        return {
            "maps": [item.detach() for item in self.features.maps],
            "position": self.features.position,
            "size": list(self.features.size_hw),
            "truth": self.truth,
            "lone": self.lone,
            "hints": [
                {
                    "points": torch.from_numpy(hint.points),
                    "positive": torch.from_numpy(hint.positive),
                    "box": None if hint.box is None else list(hint.box),
                    "previous": hint.previous,
                }
                for hint in self.hints
            ],
        }

    @classmethod
    def from_memo(cls, memo: dict[str, Any], device: torch.device) -> PendingExample:
        maps = tuple(item.to(device) for item in memo["maps"])
        position = None if memo["position"] is None else memo["position"].to(device)
        hints = [
            DecoderPrompt(
                item["points"].cpu().numpy(),
                item["positive"].cpu().numpy(),
                None if item["box"] is None else tuple(item["box"]),
                item["previous"].to(device),
            )
            for item in memo["hints"]
        ]
        features = Features(maps, (memo["size"][0], memo["size"][1]), position)
        return cls(features, memo["truth"].to(device), hints, memo["lone"])


def passes_loss(adapted: Adapted, batch: Sequence[Example], talk: IterationPlan) -> Terms:
    """Mean loss of all passes of each image."""
    losses = []
    dice = []
    for example in batch:
        going = _begin(adapted, example, talk)
        each = []
        for number in range(talk.passes):
            if number == talk.deep:
                going.features = _detached(going.features)
            loss, score = _pass(adapted, going, number, talk, example.rng)
            each.append(loss)
            dice += [score] if number == 0 else []
        losses.append(torch.stack(each).mean())
    return {"loss": torch.stack(losses).mean(), "dice": torch.stack(dice).mean()}


def stepwise_loss(adapted: Adapted, batch: Sequence[Example], talk: IterationPlan) -> Terms:
    """Mean loss of one pass; images change only when their passes are through.

    Several processes that are stopped amid the passes of a image go on with the first one's
    images.

    Raises:
        UsageError: the batch is worked through in parts.
    """
    memo = adapted.memo
    seed = torch.initial_seed()
    if memo.get("seed") == seed:
        raise UsageError(
            "training with a step for each pass keeps images between steps; leave --accumulate at 1"
        )
    number = int(memo.get("pass", 0))
    if number == 0:
        going = [_begin(adapted, example, talk) for example in batch]
    else:
        going = [PendingExample.from_memo(item, adapted.engine.device) for item in memo["going"]]
    found = [
        _pass(adapted, each, number, talk, example.rng)
        for each, example in zip(going, batch, strict=True)
    ]
    after = (number + 1) % talk.passes
    memo.update(
        {"seed": seed, "pass": after, "going": [each.as_memo() for each in going] if after else []}
    )
    return {
        "loss": torch.stack([loss for loss, _ in found]).mean(),
        "dice": torch.stack([score for _, score in found]).mean(),
    }


def _begin(adapted: Adapted, example: Example, talk: IterationPlan) -> PendingExample:
    """A image with its opening prompts; one click or box for all its objects, as published."""
    features = on_grid(adapted.features(example), example)[example.at]
    rng = example.rng
    truth = example.truth[:, example.at]
    members = drawn(len(truth), talk.masks, rng)
    boxed = bool(rng.random() < 0.5)
    hints = []
    for k in members:
        if not talk.own:
            hints.append(decoder_prompt(example.prompts[k]))
        elif boxed:
            hints.append(replace(NO_PROMPT, box=shifted_box(truth[k], rng, largest=True)))
        else:
            xy, labels = one_point(truth[k], rng)
            hints.append(DecoderPrompt(xy, labels == 1))
    lone = 1 + int(rng.integers(1, max(2, talk.passes - 2)))
    return PendingExample(
        features, torch.from_numpy(truth[members]).to(adapted.engine.device), hints, lone
    )


def _pass(
    adapted: Adapted,
    going: PendingExample,
    number: int,
    talk: IterationPlan,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Loss and mean Dice of one pass over all objects; leaves the hints of the next one."""
    engine = adapted.engine
    asking = [
        item
        for name, item in adapted.trained.items()
        if name.startswith(("prompt_encoder.", "dense_branch."))
    ]
    losses: list[Tensor] = []
    lows: list[Tensor] = [torch.empty(0)] * len(going.hints)
    masks = list(lows)
    # what encodes prompts learns from the opening pass only: later ones are full of clicks
    with _resting(asking if number else ()):
        for members, many in _alike(engine, going.hints):
            decoded = engine.decode(
                going.features, [going.hints[k] for k in members], multimask=many
            )
            full = engine.to_frame(decoded.logits, going.features.size_hw)
            loss = _of_candidates(full, going.truth[members], decoded.iou, chosen=talk.chosen)
            best = decoded.iou.detach().argmax(1)
            if decoded.object_score is not None:
                here = torch.ones(len(members), dtype=torch.bool, device=engine.device)
                loss = loss + PRESENCE * presence_loss(decoded.object_score, here)
            losses += list(loss)
            for row, k in enumerate(members):
                lows[k] = decoded.logits[row, best[row]].detach().float()
                masks[k] = full[row, best[row]].detach() > 0
    dice = torch.stack(
        [_dice(mask, truth) for mask, truth in zip(masks, going.truth, strict=True)]
    ).mean()
    if number + 1 < talk.passes:
        alone = number + 1 in (going.lone, talk.passes - 1)
        for k, hint in enumerate(going.hints):
            going.hints[k] = _next(hint, lows[k], masks[k], going.truth[k], alone, talk, rng)
    return torch.stack(losses).mean(), dice


def _next(
    hint: DecoderPrompt,
    low: Tensor,
    found: Tensor,
    truth: Tensor,
    alone: bool,
    talk: IterationPlan,
    rng: np.random.Generator,
) -> DecoderPrompt:
    """What is said after an answer: its logits, and clicks into its errors unless they are to stand
    alone.
    """
    previous = low.clamp(-CLAMP, CLAMP)
    if alone:
        # clicks of earlier passes are dropped with it: those that follow start from the mask again
        return replace(NO_PROMPT, previous=previous)
    xy, labels = error_points(
        truth.cpu().numpy(), found.cpu().numpy(), int(rng.choice(POINTS)), rng
    )
    real = (
        labels >= 0
    )  # points that are not to be used would stand for "not a point"; an engine takes none instead
    xy = xy[real]
    positive = labels[real] == 1
    if talk.keep_points:
        xy = np.concatenate([hint.points, xy])
        positive = np.concatenate([hint.positive, positive])
    return DecoderPrompt(xy, positive, hint.box if talk.keep_points else None, previous)


def _alike(engine: Engine, hints: Sequence[DecoderPrompt]) -> Iterator[tuple[list[int], bool]]:
    """Objects that are asked for one mask, and those asked for three."""
    groups: dict[bool, list[int]] = {}
    for k, hint in enumerate(hints):
        # with an earlier answer only engines that always give three are asked for three, as in use
        clicks = hint.clicks if hint.previous is None else MANY
        groups.setdefault(engine.multimask(clicks, tracking=False), []).append(k)
    yield from ((members, many) for many, members in groups.items())


def _of_candidates(logits: Tensor, truth: Tensor, iou: Tensor, *, chosen: bool) -> Tensor:
    """Loss of each object (O,) from its candidates: logits (O, M, row, column), truth (O, row,
    column), iou (O, M).
    """
    masks, scores = measure(logits, truth[:, None], iou)
    if chosen:
        best = iou.detach().argmax(1, keepdim=True)
        return (masks + scores).gather(1, best)[:, 0]
    others = OTHERS * masks.mean(1) if masks.shape[1] > 1 else 0.0
    return masks.min(1).values + others + scores.mean(1)


def measure(logits: Tensor, truth: Tensor, iou: Tensor) -> tuple[Tensor, Tensor]:
    """20 x focal + Dice, and the squared error of the predicted IoU; each mask by itself, (...,
    row, column) to (...).

    The public code takes Dice and IoU of a whole batch as one volume, which teaches every candidate
    the same IoU.
    """
    inside = logits.detach().float().sigmoid()
    there = truth.float()
    both = (inside * there).sum((-2, -1))
    true = both / (inside.sum((-2, -1)) + there.sum((-2, -1)) - both).clamp(min=1e-6)
    return FOCAL * focal(logits, truth) + dice_loss(logits, truth), (iou.float() - true) ** 2


def _dice(found: Tensor, truth: Tensor) -> Tensor:
    sizes = (found.sum() + truth.sum()).float()
    return torch.where(sizes > 0, 2 * (found & truth).sum() / sizes.clamp(min=1), 1.0)


def _detached(features: Features) -> Features:
    return replace(features, maps=tuple(item.detach() for item in features.maps))


@contextlib.contextmanager
def _resting(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Parameters that ask for no gradients for a while."""
    held = list(parameters)
    try:
        for item in held:
            item.requires_grad_(False)
        yield
    finally:
        for item in held:
            item.requires_grad_(True)
