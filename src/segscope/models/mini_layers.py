"""Layers of `mini`: the image encoder, prompts drawn as maps, and what adds these to features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 128
ENCODER_WIDTHS = (32, 64, 256)
ENCODER_BLOCKS = 7
#: a click (x, y) is drawn as a disc whose spread is this share of the input side
CLICK_SPREAD = 0.025


class BatchNorm(nn.BatchNorm2d):
    """Batch norm without torch's counter of batches, so that weight files hold nothing but
    weights.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.num_batches_tracked = None

    def _load_from_state_dict(self, *arguments: Any) -> None:
        # torch's own version would require the counter
        nn.Module._load_from_state_dict(self, *arguments)


def _conv(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
        BatchNorm(outside),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm = BatchNorm(width)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm(self.second(self.first(x))))


class _Block(nn.Module):
    """Transformer block on a map; a depthwise 3x3 tells tokens their place, at any input size."""

    def __init__(self, width: int, heads: int, grow: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.local = nn.Conv2d(width, width, 3, 1, 1, groups=width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.grow = nn.Linear(width, grow * width)
        self.shrink = nn.Linear(grow * width, width)
        for layer in (self.out, self.shrink):
            nn.init.zeros_(layer.bias)
            nn.init.normal_(layer.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.local(x)
        batch, width, rows, columns = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = (
            self.qkv(self.norm1(tokens))
            .view(batch, -1, 3, self.heads, width // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, -1, width)
        tokens = tokens + self.out(mixed)
        tokens = tokens + self.shrink(F.gelu(self.grow(self.norm2(tokens))))
        return tokens.transpose(1, 2).view(batch, width, rows, columns)


class MiniEncoder(nn.Module):
    """Image to maps at strides 4, 8, 16 with WIDTH/8, WIDTH/4, WIDTH channels: what SAM 2's
    decoder takes.
    """

    def __init__(
        self, widths: tuple[int, int, int] = ENCODER_WIDTHS, blocks: int = ENCODER_BLOCKS
    ) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.stem = nn.Sequential(_conv(3, fine, 2), _conv(fine, fine, 2), _Residual(fine))
        self.stage8 = nn.Sequential(_conv(fine, middle, 2), _Residual(middle), _Residual(middle))
        self.stage16 = nn.Sequential(
            _conv(middle, coarse, 2), *[_Block(coarse, coarse // 64) for _ in range(blocks)]
        )
        self.norm = nn.GroupNorm(1, coarse)
        self.coarse = nn.Conv2d(coarse, WIDTH, 1)
        self.down8 = nn.Conv2d(coarse, middle, 1)
        self.down4 = nn.Conv2d(middle, fine, 1)
        self.middle = nn.Conv2d(middle, WIDTH // 4, 1)
        self.fine = nn.Conv2d(fine, WIDTH // 8, 1)

    def get_input_embeddings(self) -> nn.Module:
        return self.stem

    def forward(self, pixels: Tensor) -> list[Tensor]:
        return self.project(self.encode_deep(pixels))

    def encode_deep(self, pixels: Tensor) -> list[Tensor]:
        """Maps of the encoder's own widths, before they are reduced to those of the decoder."""
        x4 = self.stem(pixels)
        x8 = self.stage8(x4)
        x16 = self.norm(self.stage16(x8))
        x8 = F.relu(x8 + F.interpolate(self.down8(x16), scale_factor=2.0, mode="nearest"))
        x4 = F.relu(x4 + F.interpolate(self.down4(x8), scale_factor=2.0, mode="nearest"))
        return [x4, x8, x16]

    def project(self, deep: list[Tensor]) -> list[Tensor]:
        """Maps of `encode_deep` as the decoder takes them."""
        x4, x8, x16 = deep
        return [self.fine(x4), self.middle(x8), self.coarse(x16)]


class DenseBranch(nn.Module):
    """Maps at stride 4, and flags as a bias, to what is added to the features at strides 4, 8 and
    16.
    """

    def __init__(self, maps: int, flags: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(maps, 16, 3, 1, 1)
        self.flags = nn.Linear(flags, 16)
        self.to8 = nn.Conv2d(16, 32, 3, 2, 1)
        self.to16 = nn.Conv2d(32, 64, 3, 2, 1)
        self.add4 = nn.Conv2d(16, WIDTH // 8, 1)
        self.add8 = nn.Conv2d(32, WIDTH // 4, 1)
        self.add16 = nn.Conv2d(64, WIDTH, 1)

    def forward(self, maps: Tensor, flags: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x4 = F.relu(self.first(maps) + self.flags(flags)[..., None, None])
        x8 = F.relu(self.to8(x4))
        x16 = F.relu(self.to16(x8))
        return self.add4(x4), self.add8(x8), self.add16(x16)


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
