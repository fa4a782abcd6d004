"""Modules of DB-SAM on maps with channels last, (B, row, column, channel)."""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REDUCE = 4  # of channels, in gates and in the fusion
GROW = 4  # of channels, inside a feed-forward


class ChannelAttentionBlock(nn.Module):
    """CAB: x + PW(SE(DW(LN(x)))); the last layer is zero at the start (section 2.2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.depthwise = nn.Conv2d(width, width, 3, 1, 1, groups=width, bias=False)
        self.squeeze = nn.Conv2d(width, width // REDUCE, 1, bias=False)
        self.excite = nn.Conv2d(width // REDUCE, width, 1, bias=False)
        self.pointwise = nn.Conv2d(width, width, 1, bias=False)
        nn.init.zeros_(self.pointwise.weight)

    def forward(self, x: Tensor) -> Tensor:
        mixed = F.gelu(self.depthwise(self.norm(x).permute(0, 3, 1, 2)))
        gate = self.excite(F.gelu(self.squeeze(mixed.mean((2, 3), keepdim=True)))).sigmoid()
        return x + self.pointwise(mixed * gate).permute(0, 2, 3, 1)


class ConvBranch(nn.Module):
    """Two 3x3 and three 1x1 convolutions: from a small image to the size of the encoder's map,
    shallow but with much detail.

    The public code has SyncBatchNorm, which is meaningless with one image per batch; here groups of
    an image's own channels are normalised.

    Args:
        width: channels of the encoder's map; the inner layers have a sixth and a third of it.
        factor: sides of the image in cells of the map: 8, 4, 2 or 1.
    """

    def __init__(self, width: int, factor: int = 4) -> None:
        super().__init__()
        self.factor = factor
        first, second = {8: (4, 2), 4: (2, 2), 2: (2, 1), 1: (1, 1)}[factor]
        narrow = max(8, width // 6 // 8 * 8)
        middle = max(8, width // 3 // 8 * 8)
        layers: list[nn.Module] = []
        for inside, outside, kernel, stride in (
            (3, narrow, 3, first),
            (narrow, narrow, 1, 1),
            (narrow, middle, 3, second),
            (middle, middle, 1, 1),
        ):
            layers.append(nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False))
            layers += [nn.GroupNorm(math.gcd(32, outside), outside), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(middle, width, 1))
        self.norm = nn.LayerNorm(width)

    def forward(self, pixels: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """Map (B, row, column, width) of `size_hw` from images (B, 3, row, column) of any size."""
        size = [self.factor * side for side in size_hw]
        small = F.interpolate(
            pixels.float(), size, mode="bilinear", align_corners=False, antialias=True
        )
        return self.norm(self.layers(small.to(pixels.dtype)).permute(0, 2, 3, 1))


class DeformableAttention(nn.Module):
    """Attention of each cell to a few points of other maps, whose offsets it predicts ("Deformable
    DETR", 2010.04159).

    Offsets start on rays, one for each head; weights start equal.

    Args:
        width, heads: channels, and groups of them.
        points: points that a head samples on each map.
        levels: number of maps.
        dropout: of attention weights.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        points: int = 4,
        levels: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.points = points
        self.levels = levels
        self.sampling_offsets = nn.Linear(width, heads * levels * points * 2)
        self.attention_weights = nn.Linear(width, heads * levels * points)
        self.value_proj = nn.Linear(width, width)
        self.output_proj = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        angle = torch.arange(heads, dtype=torch.float32) * (2 * math.pi / heads)
        rays = torch.stack([angle.cos(), angle.sin()], -1)
        rays = rays / rays.abs().amax(-1, keepdim=True)
        reach = torch.arange(1, points + 1, dtype=torch.float32)
        with torch.no_grad():
            start = rays[:, None, None] * reach[:, None]
            self.sampling_offsets.bias.copy_(start.expand(heads, levels, points, 2).flatten())
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, query: Tensor, values: Sequence[Tensor]) -> Tensor:
        """From queries (B, row, column, channel) and `levels` such maps of any size to the same
        shape as the queries.
        """
        batch, rows, columns, width = query.shape
        shape = (batch, rows * columns, self.heads, self.levels)
        offsets = self.sampling_offsets(query).float().view(*shape, self.points, 2)
        weights = self.attention_weights(query).float().view(*shape[:3], -1).softmax(-1)
        weights = self.dropout(weights).view(*shape, self.points)
        centres = _centres(rows, columns, query.device)[:, None, None]
        total: Tensor | None = None
        for level, value in enumerate(values):
            part = self._sample(value, centres, offsets[:, :, :, level], weights[:, :, :, level])
            if total is None:
                total = part
            else:
                total = total + part
        assert total is not None
        merged = total.view(batch, width, rows, columns).permute(0, 2, 3, 1)
        return self.output_proj(merged.to(query.dtype))

    def _sample(
        self,
        value: Tensor,
        centres: Tensor,
        offsets: Tensor,
        weights: Tensor,
    ) -> Tensor:
        """Weighted samples of one map, (B * head, channel, row * column)."""
        size = value.new_tensor([value.shape[2], value.shape[1]], dtype=torch.float32)
        grid = (2 * (centres + offsets / size) - 1).transpose(1, 2).flatten(0, 1)
        maps = self.value_proj(value).float().unflatten(-1, (self.heads, -1))
        maps = maps.permute(0, 3, 4, 1, 2).flatten(0, 1)
        samples = F.grid_sample(
            maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )
        share = weights.transpose(1, 2).flatten(0, 1)[:, None]
        return (samples * share).sum(-1)


def _centres(rows: int, columns: int, device: torch.device) -> Tensor:
    """(row * column, 2) x, y of the centres of a map's cells, 0 to 1."""
    y = (torch.arange(rows, device=device) + 0.5) / rows
    x = (torch.arange(columns, device=device) + 0.5) / columns
    return torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).flip(-1).flatten(0, 1)


class MixFeedForward(nn.Module):
    """Linear, depthwise 3x3, GELU, linear. Its file is missing in the public code; its sizes follow
    from the call.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.grow = nn.Linear(width, GROW * width)
        self.shrink = nn.Linear(GROW * width, width)
        self.depthwise = nn.Conv2d(GROW * width, GROW * width, 3, 1, 1, groups=GROW * width)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.depthwise(self.grow(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.shrink(F.gelu(mixed))


@dataclass(frozen=True)
class ExchangeOptions:
    """How the two branches attend to each other.

    Attributes:
        points: points that a head samples on each map.
        levels: maps of the branch of convolutions.
        dropout: of attention and of what it adds, while training.
        drop_path: share of images for which an addition is skipped, while training.
    """

    points: int = 4
    levels: int = 1
    dropout: float = 0.0
    drop_path: float = 0.0


class CrossAttention(nn.Module):
    """One direction of BCA: deformable attention to the other branch, and a feed-forward."""

    def __init__(self, width: int, heads: int, options: ExchangeOptions) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(width)
        self.value_norm = nn.LayerNorm(width)
        self.attn = DeformableAttention(
            width, heads, options.points, options.levels, options.dropout
        )
        self.ffn_pre_norm = nn.LayerNorm(width)
        self.mlp = MixFeedForward(width)
        self.dropout = nn.Dropout(options.dropout)
        self.drop_path = options.drop_path

    def forward(
        self, x: Tensor, values: Sequence[Tensor], scales: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """A map with what it takes from others; `scales`, (channel,) each, weight what attention
        and feed-forward add.
        """
        one, two = scales or (1.0, 1.0)
        mixed = self.attn(self.query_norm(x), list(map(self.value_norm, values)))
        x = x + one * self.skip_some(self.dropout(mixed))
        return x + two * self.skip_some(self.mlp(self.ffn_pre_norm(x)))

    def skip_some(self, x: Tensor) -> Tensor:
        """Drop path: zero for some images of a batch, scaled up for the others."""
        if not self.training or not self.drop_path:
            return x
        used = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.drop_path
        return x * used / (1 - self.drop_path)


class BilateralCrossAttention(nn.Module):
    """BCA: both branches attend to each other's previous maps (section 2.3).

    What the encoder's branch receives is weighted by channel, starting at zero, so that a frozen
    encoder is not disturbed from the start.
    """

    def __init__(self, width: int, heads: int, options: ExchangeOptions) -> None:
        super().__init__()
        self.vit = CrossAttention(width, heads, options)
        self.conv = CrossAttention(width, heads, replace(options, levels=1))
        self.gamma_attention = nn.Parameter(torch.zeros(width))
        self.gamma_ffn = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, others: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """From the map of the encoder and the maps of the convolutions to the same."""
        vit = self.vit(x, others, (self.gamma_attention, self.gamma_ffn))
        conv = self.conv(torch.cat(list(others)), [x.repeat(len(others), 1, 1, 1)])
        return vit, list(conv.chunk(len(others)))


class VitConvFusion(nn.Module):
    """F = F_d * M + F_s * (1 - M), M = sigmoid(FC(F_d) + FC(F_s)) at each cell (section 2.4),
    weighted by channel, starting at zero.

    As in the paper's figure M weights the encoder, with GELU and without norm; in the public code M
    weights the convolutions.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.vit = self._project(width)
        self.conv = self._project(width)
        self.gamma = nn.Parameter(torch.zeros(width))

    @staticmethod
    def _project(width: int) -> nn.Sequential:
        inside = width // REDUCE
        return nn.Sequential(nn.Linear(width, inside), nn.GELU(), nn.Linear(inside, width))

    def share(self, x: Tensor, other: Tensor) -> Tensor:
        """M, 0 to 1: the share of the encoder's map."""
        return (self.vit(x) + self.conv(other)).sigmoid()

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return x + self.gamma * ((1 - self.share(x, other)) * (other - x))


class Stream(threading.local):
    """The branch of convolutions of the image that is being encoded, one for each thread.

    Attributes:
        pixels: the image, as the encoder takes it.
        maps: its maps, once a stage has used them.
    """

    pixels: Tensor | None = None
    maps: list[Tensor] | None = None

    def begin(self, pixels: Tensor) -> None:
        self.pixels = pixels
        self.maps = None

    def end(self) -> None:
        """Release the image, which has passed the last stage."""
        self.pixels = None
        self.maps = None


class StageEnd(nn.Module):
    """What follows a stage of the encoder: CAB, BCA and, after the last, the fusion; each may be
    missing.

    Args:
        width, heads: of the encoder's map.
        parts: which of "cab", "bca" and "fusion" there are.
        options: of BCA.
        last: whether it is the last stage that meets the branch of convolutions.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        parts: Collection[str],
        options: ExchangeOptions,
        *,
        last: bool = False,
    ) -> None:
        super().__init__()
        self.last = last
        self.cab: ChannelAttentionBlock | None = None
        self.bca: BilateralCrossAttention | None = None
        self.fusion: VitConvFusion | None = None
        if "cab" in parts:
            self.cab = ChannelAttentionBlock(width)
        if "bca" in parts:
            self.bca = BilateralCrossAttention(width, heads, options)
        if "fusion" in parts:
            self.fusion = VitConvFusion(width)

    def forward(
        self, x: Tensor, stream: Stream | None = None, branch: Sequence[nn.Module] = ()
    ) -> Tensor:
        """(B, row, column, channel) to the same; the stream advances as well."""
        if self.cab is not None:
            x = self.cab(x)
        if stream is None or self.bca is None:
            return x
        if stream.maps is None:
            assert stream.pixels is not None
            stream.maps = [each(stream.pixels, (x.shape[1], x.shape[2])) for each in branch]
        x, stream.maps = self.bca(x, stream.maps)
        if self.fusion is not None:
            x = self.fusion(x, torch.stack(stream.maps).mean(0))
        if self.last:
            stream.end()
        return x
