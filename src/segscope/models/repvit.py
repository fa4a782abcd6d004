"""RepViT-M1, the image encoder of EdgeTAM, without timm (which cannot be imported where torchvision
is missing).

"RepViT: Revisiting Mobile CNN From ViT Perspective" (arXiv 2307.09283), in the training-time form
in which EdgeTAM's weights are released: every depthwise layer is a 3x3 branch, a 1x1 branch and an
identity. Names of parameters are those of timm's feature extractor inside transformers' wrapper
(`timm_model.stem.conv1.c.weight` ...), so both EdgeTAM's own file and its transformers conversion
load.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

WIDTHS = (48, 96, 192, 384)
DEPTHS = (2, 2, 14, 2)


class ConvNorm(nn.Sequential):
    """Convolution without bias, then BatchNorm."""

    def __init__(
        self,
        inside: int,
        outside: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.add_module(
            "c", nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False)
        )
        self.add_module("bn", nn.BatchNorm2d(outside))


class Mixer(nn.Module):
    """Depthwise 3x3 + depthwise 1x1 + identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = ConvNorm(width, width, 3, groups=width)
        self.conv1 = ConvNorm(width, width, 1, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + self.conv1(x) + x


class Squeeze(nn.Module):
    """Channel gate from the mean of the map; a quarter of the channels, rounded to a multiple of
    8.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        narrow = max(8, (width // 4 + 4) // 8 * 8)
        self.fc1 = nn.Conv2d(width, narrow, 1)
        self.act = nn.ReLU()
        self.fc2 = nn.Conv2d(narrow, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc2(self.act(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()


class Widen(nn.Module):
    """Two 1x1 convolutions with twice the channels between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(width, 2 * width)
        self.act = nn.GELU()
        self.conv2 = ConvNorm(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.act(self.conv1(x)))


class Block(nn.Module):
    """Mix in space, gate (every second block), mix channels."""

    def __init__(self, width: int, *, gate: bool) -> None:
        super().__init__()
        self.token_mixer = Mixer(width)
        self.se = Squeeze(width) if gate else nn.Identity()
        self.channel_mixer = Widen(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.se(self.token_mixer(x))
        return x + self.channel_mixer(x)


class Downsample(nn.Module):
    """Half the resolution, other width."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.pre_block = Block(inside, gate=False)
        self.spatial_downsample = ConvNorm(inside, inside, 3, stride=2, groups=inside)
        self.channel_downsample = ConvNorm(inside, outside)
        self.ffn = Widen(outside)

    def forward(self, x: Tensor) -> Tensor:
        x = self.channel_downsample(self.spatial_downsample(self.pre_block(x)))
        return x + self.ffn(x)


class Stage(nn.Module):
    """Blocks of one resolution."""

    def __init__(self, inside: int, outside: int, depth: int) -> None:
        super().__init__()
        self.downsample = Downsample(inside, outside) if inside != outside else nn.Identity()
        self.blocks = nn.Sequential(*(Block(outside, gate=i % 2 == 0) for i in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class Stem(nn.Module):
    """Two 3x3 convolutions, stride 4 in all."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(3, width // 2, 3, stride=2)
        self.act1 = nn.GELU()
        self.conv2 = ConvNorm(width // 2, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.act1(self.conv1(x)))


class RepVit(nn.Module):
    """Feature extractor: maps at strides 4, 8, 16 and 32."""

    def __init__(self, widths: Sequence[int] = WIDTHS, depths: Sequence[int] = DEPTHS) -> None:
        super().__init__()
        self.stem = Stem(widths[0])
        inside = widths[0]
        for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            self.add_module(f"stages_{i}", Stage(inside, width, depth))
            inside = width
        self.count = len(widths)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps (B, width, row, column) of images (B, 3, row, column), finest first."""
        x = self.stem(x)
        maps = []
        for i in range(self.count):
            x = self.get_submodule(f"stages_{i}")(x)
            maps.append(x)
        return maps


class RepVitBackbone(nn.Module):
    """In the place of the encoder inside transformers' SAM 2 vision model, whose neck EdgeTAM
    shares.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS, depths: Sequence[int] = DEPTHS) -> None:
        super().__init__()
        self.timm_model = RepVit(widths, depths)

    def forward(self, pixel_values: Tensor, **_: Any) -> SimpleNamespace:
        """Maps with channels last, finest first, as Hiera gives them."""
        maps = tuple(item.permute(0, 2, 3, 1) for item in self.timm_model(pixel_values))
        return SimpleNamespace(
            last_hidden_state=maps[-1],
            intermediate_hidden_states=maps,
            hidden_states=None,
            attentions=None,
        )
