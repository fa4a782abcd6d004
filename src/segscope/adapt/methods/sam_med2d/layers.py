"""Adapter layers of SAM-Med2D."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segscope.adapt.networks.encoder_blocks import Place


class AdapterLayer(nn.Module):
    """What is added beside the MLP of a block, from its normed map (section 3.2).

    A channel gate, a convolution to half the resolution and back, a skip around both, and a norm.
    The dense layer is the published one; the light one is ours: a 1x1 bottleneck, then depthwise
    convolutions.

    Args:
        width: channels C.
        light: whether convolutions are depthwise.
        zero: start at zero, by a norm whose scale is zero; else as published, where the norm gives
            values of order one from the start.

    Attributes:
        on: whether it is applied.
    """

    def __init__(self, width: int, *, light: bool, zero: bool) -> None:
        super().__init__()
        self.on = True
        self.channel = nn.Sequential(
            nn.Linear(width, width // 4, bias=False),
            nn.ReLU(),
            nn.Linear(width // 4, width, bias=False),
            nn.Sigmoid(),
        )
        groups = 1
        if light:
            groups = width
        self.spatial = nn.Sequential(
            nn.Conv2d(width, width, 3, 2, 1, groups=groups, bias=False),
            nn.ReLU(),
            nn.ConvTranspose2d(width, width, 4, 2, 1, groups=groups, bias=False),
            nn.ReLU(),
        )
        self.mix: nn.Module = nn.Identity()
        if light:
            self.mix = nn.Sequential(
                nn.Conv2d(width, width // 8, 1, bias=False),
                nn.Conv2d(width // 8, width, 1, bias=False),
            )
        self.norm = nn.LayerNorm(width)
        for layer in self.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out")
        if zero:
            nn.init.zeros_(self.norm.weight)

    def forward(self, normed: Tensor) -> Tensor:
        """(B, row, column, channel) to the same; odd sides are cropped from the next even ones."""
        if not self.on:
            return torch.zeros_like(normed)
        x = normed.permute(0, 3, 1, 2)
        gate = self.channel(x.mean((2, 3)))
        spatial = self.spatial(self.mix(x * gate[..., None, None]))
        spatial = spatial[..., : x.shape[2], : x.shape[3]]
        return self.norm((x + spatial).permute(0, 2, 3, 1))


def count_layer(place: Place, *, light: bool) -> int:
    """Parameters in an AdapterLayer of a block."""
    width = place.width
    spatial = 25 * width**2
    if light:
        spatial = 25 * width + 2 * width * (width // 8)
    return 2 * width * (width // 4) + spatial + 2 * width
