"""Layers of `mini`: the image encoder, and what adds prompt maps to its features."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from segscope.models.batch_norm import BatchNorm

WIDTH = 128
ENCODER_WIDTHS = (32, 64, 256)
ENCODER_BLOCKS = 7


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
        x4 = self.stem(pixels)
        x8 = self.stage8(x4)
        x16 = self.norm(self.stage16(x8))
        x8 = F.relu(x8 + F.interpolate(self.down8(x16), scale_factor=2.0, mode="nearest"))
        x4 = F.relu(x4 + F.interpolate(self.down4(x8), scale_factor=2.0, mode="nearest"))
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
