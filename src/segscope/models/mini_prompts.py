"""Prompts of `mini`: tensors of a batch of objects, and the maps that they are drawn as."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: a click (x, y) is drawn as a disc whose spread is this share of the input side
CLICK_SPREAD = 0.025


@dataclass(frozen=True, eq=False)
class MiniPrompts:
    """Prompts of O objects; None for kinds that no object has.

    Attributes:
        points: (O, N, 2) x, y in input pixels, centre of the first pixel (0.5, 0.5).
        labels: (O, N) 1 positive, 0 negative, -10 padding.
        boxes: (O, 4) x0, y0, x1, y1 in input pixels.
        previous: (O, 1, S/4, S/4) logits of an earlier answer, or of a given mask (+-10).
        has_box, has_previous: (O,) bool; which objects those inputs hold for. Default: all.
        ellipse: (O,) bool, false hides the ellipse of the box (used in training). Default: all
            true.
    """

    points: Tensor | None = None
    labels: Tensor | None = None
    boxes: Tensor | None = None
    previous: Tensor | None = None
    has_box: Tensor | None = None
    has_previous: Tensor | None = None
    ellipse: Tensor | None = None

    def complete(self, coarse: Tensor) -> CompletePrompts:
        """All tensors, on the device and in the numbers of the last feature map (1 or O, channel,
        S/16, S/16).
        """
        objects = len(coarse)
        for tensor in (self.previous, self.boxes, self.points):
            if tensor is not None:
                objects = len(tensor)
        points = self.points
        labels = self.labels
        if points is None or labels is None:
            points = coarse.new_zeros(objects, 0, 2)
            labels = coarse.new_zeros((objects, 0), dtype=torch.long)
        side = 4 * coarse.shape[-1]
        return CompletePrompts(
            points,
            labels.long(),
            _or_zeros(self.boxes, points, (objects, 4)),
            _or_zeros(self.previous, points, (objects, 1, side, side)),
            _flags(self.has_box, points, objects, self.boxes is not None),
            _flags(self.has_previous, points, objects, self.previous is not None),
            _flags(self.ellipse, points, objects, True),
        )


@dataclass(frozen=True, eq=False)
class CompletePrompts:
    """As `MiniPrompts`, with tensors for every kind."""

    points: Tensor
    labels: Tensor
    boxes: Tensor
    previous: Tensor
    has_box: Tensor
    has_previous: Tensor
    ellipse: Tensor

    @property
    def flags(self) -> Tensor:
        """(O, 3): whether an object has a box, earlier logits, clicks."""
        clicked = (self.labels >= 0).any(1)
        return torch.stack([self.has_box, self.has_previous, clicked], 1).float()

    def maps(self) -> Tensor:
        """Prompts drawn at stride 4: (O, 5, S/4, S/4) clicks + and -, box, ellipse of the box,
        earlier logits.
        """
        side = self.previous.shape[-1]
        places = torch.arange(side, device=self.points.device, dtype=torch.float32)
        at = (places + 0.5) * 4
        boxed = self.has_box.float()[:, None, None]
        inside, inner = self._box_maps(at)
        ellipse = self.ellipse.float()[:, None, None]
        has_previous = self.has_previous.float()[:, None, None]
        return torch.stack(
            [
                *self._click_maps(at),
                torch.tanh(inside) * boxed,
                torch.tanh(3 * inner) * boxed * ellipse,
                torch.tanh(self.previous[:, 0] / 4) * has_previous,
            ],
            1,
        )

    def _click_maps(self, at: Tensor) -> list[Tensor]:
        """Positive and negative clicks as discs (O, side, side)."""
        side = len(at)
        if not self.points.shape[1]:
            nothing = self.points.new_zeros(len(self.points), side, side).float()
            return [nothing, nothing]
        dx2 = (at - self.points[..., 0:1]) ** 2  # (O, N, side)
        dy2 = (at - self.points[..., 1:2]) ** 2
        scale = -0.5 / (CLICK_SPREAD * 4 * side) ** 2
        discs = torch.exp(dy2 * scale)[..., :, None] * torch.exp(dx2 * scale)[..., None, :]
        return [(discs * (self.labels == sign)[..., None, None]).amax(1) for sign in (1, 0)]

    def _box_maps(self, at: Tensor) -> tuple[Tensor, Tensor]:
        """Distance to the nearest side of the box, height of its ellipse (O, side, side)."""
        size = 4 * len(at)
        x0, y0, x1, y1 = (self.boxes[:, k, None] for k in range(4))
        inside_x = torch.minimum(at - x0, x1 - at)
        inside_y = torch.minimum(at - y0, y1 - at)
        inside = torch.minimum(inside_x[:, None, :], inside_y[:, :, None]) / (0.06 * size)
        round_x = (2 * at - x0 - x1) / (x1 - x0).clamp(min=1)
        round_y = (2 * at - y0 - y1) / (y1 - y0).clamp(min=1)
        inner = 1 - (round_x[:, None, :] ** 2 + round_y[:, :, None] ** 2 + 1e-6).sqrt()
        return inside, inner


def _or_zeros(tensor: Tensor | None, like: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tensor is None:
        return like.new_zeros(shape)
    return tensor


def _flags(flags: Tensor | None, like: Tensor, objects: int, given: bool) -> Tensor:
    """Flags of O objects: as they are, else true where the input is there."""
    if flags is None or not given:
        return like.new_full((objects,), given, dtype=torch.bool)
    return flags
