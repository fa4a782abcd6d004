"""Modules of SAM2-UNet (arXiv 2408.08870, section 3): adapter, receptive field block, upsampling,
heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segscope.adapt.networks.encoder_trunk import Trunk
from segscope.models.mini_layers import BatchNorm

INITS = ("zero", "trunc_normal", "default")


class ConvBatchNorm(nn.Sequential):
    """Convolution without bias, then batch norm; no activation, as in the published code."""

    def __init__(
        self,
        inside: int,
        outside: int,
        kernel: int | tuple[int, int] = 1,
        dilation: int = 1,
    ) -> None:
        if isinstance(kernel, int):
            kernel = (kernel, kernel)
        padding = (dilation * (kernel[0] // 2), dilation * (kernel[1] // 2))
        super().__init__()
        self.conv = nn.Conv2d(
            inside, outside, kernel, padding=padding, dilation=dilation, bias=False
        )
        self.bn = BatchNorm(outside)


class Adapter(nn.Module):
    """A bottleneck with GELU after both layers; channels last. Its output is added to its input."""

    def __init__(self, width: int, narrow: int, init: str) -> None:
        super().__init__()
        self.down = nn.Linear(width, narrow)
        self.up = nn.Linear(narrow, width)
        if init == "trunc_normal":
            for layer in (self.down, self.up):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        elif init == "zero":
            nn.init.zeros_(self.up.weight)
            nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.up(F.gelu(self.down(x))))


class Rfb(nn.Module):
    """Receptive field block (arXiv 1711.07767) with four branches, as in PraNet (2006.11392)."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([nn.Sequential(ConvBatchNorm(inside, outside))])
        for k in (3, 5, 7):
            self.branches.append(
                nn.Sequential(
                    ConvBatchNorm(inside, outside),
                    ConvBatchNorm(outside, outside, (1, k)),
                    ConvBatchNorm(outside, outside, (k, 1)),
                    ConvBatchNorm(outside, outside, 3, dilation=k),
                )
            )
        self.join = ConvBatchNorm(4 * outside, outside, 3)
        self.shortcut = ConvBatchNorm(inside, outside)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(
            self.join(torch.cat([branch(x) for branch in self.branches], 1)) + self.shortcut(x)
        )


class Up(nn.Module):
    """Twice the size, joined with the finer map, two convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = ConvBatchNorm(2 * width, width, 3)
        self.second = ConvBatchNorm(width, width, 3)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        x = F.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=True)
        down = fine.shape[-2] - x.shape[-2]
        across = fine.shape[-1] - x.shape[-1]
        if down or across:
            x = F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        return F.relu(self.second(F.relu(self.first(torch.cat([fine, x], 1)))))


class Pyramid(nn.Module):
    """From one map of stride 16 to four of strides 4 to 32 (simple feature pyramid, arXiv
    2203.16527, section 3).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.widths = (width // 4, width // 2, width, width)
        self.to8 = nn.ConvTranspose2d(width, width // 2, 2, 2)
        self.norm = nn.GroupNorm(1, width // 2)
        self.to4 = nn.ConvTranspose2d(width // 2, width // 4, 2, 2)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        (x16,) = maps
        x8 = self.to8(x16)
        return [self.to4(F.gelu(self.norm(x8))), x8, x16, F.max_pool2d(x16, 2)]


class UnetDecoder(nn.Module):
    """Everything that is trained.

    Args:
        trunk: the image encoder; not a part of the module.
        outputs: channels of each head.
        width: channels of the decoder.
        narrow: width of the adapters, 0 for none.
        init: of the adapters, one of `INITS`.
    """

    def __init__(
        self,
        trunk: Trunk,
        outputs: int,
        width: int,
        narrow: int,
        init: str,
    ) -> None:
        super().__init__()
        self.adapters = nn.ModuleList(
            Adapter(inside, narrow, init) for inside in trunk.inside if narrow
        )
        self.pyramid: Pyramid | None = None
        widths = trunk.widths
        if len(widths) == 1:
            self.pyramid = Pyramid(widths[0])
            widths = self.pyramid.widths
        self.rfb = nn.ModuleList(Rfb(inside, width) for inside in widths)
        self.up = nn.ModuleList(Up(width) for _ in range(3))
        self.heads = nn.ModuleList(nn.Conv2d(width, outputs, 1) for _ in range(3))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Logits (B, output, side, side) of the trunk's maps: the final ones, then those of strides
        8 and 16.
        """
        if self.pyramid is not None:
            maps = self.pyramid(maps)
        *finer, x = [block(item) for block, item in zip(self.rfb, maps, strict=True)]
        outputs = []
        for step, head, fine, scale in zip(
            self.up, self.heads, reversed(finer), (16, 8, 4), strict=True
        ):
            x = step(x, fine)
            outputs.append(_enlarge(head(x), scale))
        return outputs[::-1]


def _enlarge(logits: Tensor, scale: int) -> Tensor:
    return F.interpolate(logits, scale_factor=float(scale), mode="bilinear", align_corners=False)
