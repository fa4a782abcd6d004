"""Simulated prompts for many objects at once, on the training device: what an annotator would give,
roughly.

Unlike segscope.simulate nothing looks for connected parts: the deepest place of an error stands for
the middle of its largest part, which is the same nearly always and costs a thousandth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pool import Batch
from torch import Generator, Tensor

from segscope.models.mini import CLICKS, PADDING

#: how far masks are worn down, in pixels of the mask, to tell how deep a place lies
RADII = (1, 2, 3, 4, 6, 8, 11, 16, 22, 32, 45, 62)
SCRIBBLED = 6  # clicks that stand for a scribble
SHARE_HINT = 0.08
SHARE_SCRIBBLE = 0.06


def depth(masks: Tensor, border: float = 1.0) -> Tensor:
    """Distance (larger of rows and columns, in steps) of places in (O, row, column) masks to the
    outside, 0 there.

    What lies beyond the border is outside where `border` is 1.
    """
    outside = F.pad((~masks)[:, None].half(), (1, 1, 1, 1), value=border)
    total = masks.half()
    before = 0
    for radius in RADII:
        if radius >= masks.shape[-1]:
            break
        step = radius - before
        outside = F.max_pool2d(
            F.max_pool2d(outside, (2 * step + 1, 1), 1, (step, 0)), (1, 2 * step + 1), 1, (0, step)
        )
        total = total + (radius - before) * (1 - outside[:, 0, 1:-1, 1:-1])
        before = radius
    return total


def places(values: Tensor) -> tuple[Tensor, Tensor]:
    """Highest value of each (O, row, column) map, and where it is: (O, 2) x, y centre of the first
    pixel (0, 0).
    """
    best, at = values.flatten(1).max(1)
    columns = values.shape[-1]
    return best, torch.stack([at % columns, at // columns], 1).float()


def _noise(rng: Generator, like: Tensor) -> Tensor:
    return torch.rand(like.shape, generator=rng, device=like.device, dtype=torch.float32)


def interior_points(rng: Generator, masks: Tensor) -> Tensor:
    """(O, 2) the deepest places, ties drawn."""
    return places(depth(masks).float() + 0.5 * _noise(rng, masks) * masks)[1]


def random_points(rng: Generator, masks: Tensor) -> Tensor:
    """(O, 2) places drawn from each mask."""
    return places(_noise(rng, masks) * masks)[1]


def corrective_clicks(rng: Generator, answer: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """(O, 2) points and (O,) signs 1 or 0: where the deepest error lies; in a fifth anywhere in an
    error.

    Where nothing is wrong, a positive click on the object.
    """
    wrong = torch.cat([truth & ~answer, answer & ~truth])
    noise = _noise(rng, wrong)
    deep, at = places(depth(wrong).float() + 0.5 * noise * wrong)
    any_best, any_at = places(noise * wrong)
    n = len(truth)
    loose = torch.rand(n, generator=rng, device=truth.device) < 0.2
    area = wrong.flatten(1).sum(1)
    positive = torch.where(loose, area[:n] >= area[n:], deep[:n] >= deep[n:]) & (
        any_best[:n] > 0
    ) | (any_best[n:] <= 0)
    spots = torch.where(loose.repeat(2)[:, None], any_at, at)
    spot = torch.where(positive[:, None], spots[:n], spots[n:])
    clean = (any_best[:n] <= 0) & (any_best[n:] <= 0)
    spot = torch.where(clean[:, None], places(_noise(rng, truth) * truth)[1], spot)
    return spot, positive.long()


@dataclass(eq=False)
class First:
    """First prompts of O objects: a box, a mask to start from, a scribble (several clicks), or one
    click.

    Attributes:
        points, labels: (O, P, 2) and (O, P); label -10 is no click.
        boxes, has_box: (O, 4) and (O,).
        hints, has_hint: (O, 1, S/4, S/4) logits of a mask that somebody gave, and (O,).
        lone: (O,) bool, one click and nothing else.
    """

    points: Tensor
    labels: Tensor
    boxes: Tensor
    has_box: Tensor
    hints: Tensor
    has_hint: Tensor
    lone: Tensor


def first_prompts(rng: Generator, batch: Batch, share_box: float) -> First:
    """Something about each object; boxes loosened, masks misshapen."""
    truth = batch.truth
    device = batch.truth.device
    count = len(batch.truth)
    size = 2 * truth.shape[-1]
    rand = lambda *shape: torch.rand(*shape, generator=rng, device=device)  # noqa: E731
    draw = rand(count)
    boxed = draw < share_box
    hinted = draw > 1 - SHARE_HINT
    scribbled = (draw <= 1 - SHARE_HINT) & (draw > 1 - SHARE_HINT - SHARE_SCRIBBLE)
    loose = torch.tensor([0.0, 0.07, 0.15], device=device)[(rand(count) * 3).long().clamp(max=2)][
        :, None
    ]
    sides = (batch.boxes[:, 2:] - batch.boxes[:, :2]).repeat(1, 2)
    boxes = (batch.boxes + loose * sides * (2 * rand(count, 4) - 1)).clamp(0, size)
    boxes = torch.cat([boxes[:, :2], torch.maximum(boxes[:, 2:], boxes[:, :2] + 2)], 1)
    inner = torch.where(
        (rand(count) < 0.5)[:, None], interior_points(rng, truth), random_points(rng, truth)
    )
    clicked = ~boxed & ~hinted & ~scribbled
    with_click = clicked | (boxed & (rand(count) < 0.04))
    ends = torch.stack([random_points(rng, truth) for _ in range(2)], 1)
    along = torch.linspace(0, 1, SCRIBBLED, device=device)[:, None]
    line = (ends[:, :1] + along * (ends[:, 1:] - ends[:, :1])).round()
    at = (line[..., 1] * truth.shape[-1] + line[..., 0]).long()
    on_line = truth.flatten(1).gather(1, at) & scribbled[:, None]
    points = torch.where(scribbled[:, None, None], 2 * line + 1, 2 * inner[:, None] + 1)
    alone = torch.arange(SCRIBBLED, device=device) == 0
    labels = torch.where(on_line | (with_click[:, None] & alone), 1, PADDING)
    points = F.pad(points, (0, 0, 0, CLICKS - SCRIBBLED))
    labels = F.pad(labels, (0, CLICKS - SCRIBBLED), value=PADDING)
    return First(points, labels, boxes, boxed, misshapen(rng, truth), hinted, clicked)


def add_clicks(points: Tensor, labels: Tensor, spot: Tensor, sign: Tensor) -> tuple[Tensor, Tensor]:
    """Put a click (O, 2) of sign (O,) into the first free place of each object."""
    free = (labels == PADDING).int().argmax(1, keepdim=True)
    return points.scatter(1, free[..., None].expand(-1, 1, 2), spot[:, None]), labels.scatter(
        1, free, sign[:, None]
    )


def misshapen(rng: Generator, masks: Tensor) -> Tensor:
    """Logits +-10 (O, 1, row/2, column/2) of masks with another outline: worn down, grown, bumpy,
    shifted.
    """
    device = masks.device
    count = len(masks)
    rand = lambda *shape: torch.rand(*shape, generator=rng, device=device)  # noqa: E731
    small = F.avg_pool2d(masks[:, None].float(), 2)[:, 0] >= 0.5
    signed = (depth(small, 0.0) - depth(~small, 0.0)).float()
    reach = (0.125 * small.flatten(1).sum(1).float().sqrt()).clamp(min=1)[:, None, None]
    side = small.shape[-1]
    bumps = F.interpolate(
        torch.randn(count, 1, 6, 6, generator=rng, device=device), (side, side), mode="bicubic"
    )[:, 0]
    level = (2 * rand(count, 1, 1) - 1) * reach + bumps * reach * rand(count, 1, 1) * 0.6
    return torch.where(
        signed > level.clamp(max=signed.amax((1, 2), keepdim=True) - 0.5), 10.0, -10.0
    )[:, None]
