"""Trunks: image encoders as maps at strides 4, 8, 16 and 32, with room for an adapter before each
block.

For networks without prompts, which take the encoder and leave neck, prompt encoder, decoder and
memory aside. The engine's modules run as they are and stay where they are, so nothing is put into
its network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segscope.errors import UsageError
from segscope.models.engine import Engine
from segscope.models.mini import normalise
from segscope.models.sam2 import resize

STRIDE = 32
"""Sides of the input are multiples of it: Hiera tiles a table of 8 x 8 positions over a map of
stride 4.
"""

Fit = Literal["squash", "letterbox"]


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One block of a trunk.

    Attributes:
        run: the block, on maps as the trunk has them.
        inside: channels of what it takes.
        gives: whether its output is one of the trunk's maps.
    """

    run: Callable[[Tensor], Tensor]
    inside: int
    gives: bool


@dataclass(frozen=True, slots=True, eq=False)
class Trunk:
    """An image encoder.

    Attributes:
        start: pixels (B, 3, side, side) to what the first block takes.
        blocks: in order.
        finish: kept outputs to maps (B, channel, row, column), finest first.
        widths: channels of these maps: four of strides 4 to 32, or one of stride 16.
        last: whether the blocks have channels last, (B, row, column, channel).
    """

    start: Callable[[Tensor], Tensor]
    blocks: tuple[Block, ...]
    finish: Callable[[list[Tensor]], list[Tensor]]
    widths: tuple[int, ...]
    last: bool

    @property
    def inside(self) -> tuple[int, ...]:
        """Channels in front of each block."""
        return tuple(block.inside for block in self.blocks)

    def maps(
        self, pixels: Tensor, adapters: Sequence[Callable[[Tensor], Tensor]] = ()
    ) -> list[Tensor]:
        """Maps of images.

        Args:
            pixels: (B, 3, side, side), from `pixels`.
            adapters: none, or one for each block, on channels-last maps; x becomes block(x +
                adapter(x)).

        Raises:
            UsageError: sides that are not multiples of 32.
        """
        check_side(*pixels.shape[-2:])
        x = self.start(pixels)
        kept = []
        for k, block in enumerate(self.blocks):
            if adapters:
                # contiguous, as `segscope.models.fast_attention.contiguous_inputs` explains
                tokens = x
                if not self.last:
                    tokens = _last(x)
                change = adapters[k](tokens.contiguous())
                if not self.last:
                    change = _first(change)
                x = x + change
            x = block.run(x)
            if block.gives:
                kept.append(_first(x) if self.last else x)
        return self.finish(kept)


def trunk(engine: Engine) -> Trunk:
    """The trunk of an engine's network.

    Raises:
        UsageError: a family without one here.
    """
    makers = {"sam2": _hiera, "edgetam": _repvit, "mini": _mini, "sam": _vit}
    if engine.card.family not in makers:
        raise UsageError(
            f"{engine.card.name}: only encoders of {', '.join(makers)} serve as trunks"
        )
    model: Any = engine.model  # type: ignore[attr-defined]
    return makers[engine.card.family](model.vision_encoder)


def check_side(*sides: int) -> None:
    """Refuse sides that a trunk cannot take."""
    for side in sides:
        if side < STRIDE or side % STRIDE:
            raise UsageError(
                f"the side of the input is a multiple of {STRIDE} pixels, such as 256 or 352; got {side}. Hiera lays a "
                "table of 8 x 8 positions over its map of stride 4, and other sides leave a rest"
            )


def pixels(
    engine: Engine, rgb: NDArray[np.uint8], side: int, fit: Fit = "squash"
) -> tuple[Tensor, tuple[int, int]]:
    """A image as the engine's encoder wants it, at a side of one's own.

    Args:
        rgb: (row, column, 3).
        side: of the square input.
        fit: "squash" both sides to `side`, or the longer one only and zeros to the right and below
            ("letterbox").

    Returns:
        (1, 3, side, side) float32, and the rows and columns of it that the image covers.
    """
    values = (
        torch.from_numpy(np.ascontiguousarray(rgb)).to(engine.device).permute(2, 0, 1)[None].float()
    )
    inner = inner_size((rgb.shape[0], rgb.shape[1]), side, fit)
    values = resize(values, inner)
    if engine.card.family == "mini":
        values = normalise(values.permute(0, 2, 3, 1))
    elif engine.card.squash:  # MedSAM
        low = values.amin()
        high = values.amax()
        values = (values - low) / (high - low).clamp(min=1e-8)
    else:
        unit = 1.0 if engine.card.family == "sam" else 255.0  # SAM gives its mean in bytes
        plain: Any = engine
        mean, std = (
            torch.tensor(item, device=values.device)[:, None, None]
            for item in (plain.mean, plain.std)
        )
        values = (values / unit - mean) / std
    return F.pad(values, (0, side - inner[1], 0, side - inner[0])), inner


def inner_size(size_hw: tuple[int, int], side: int, fit: Fit) -> tuple[int, int]:
    """Rows and columns of a square input that a image of `size_hw` covers."""
    if fit == "squash":
        return side, side
    scale = side / max(size_hw)
    return max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale))


def _first(maps: Tensor) -> Tensor:
    return maps.permute(0, 3, 1, 2)


def _hiera(encoder: Any) -> Trunk:
    """SAM 2's four stages; their widths double. A stage's first block still takes the width of the
    stage before.
    """
    net = encoder.backbone

    def start(values: Tensor) -> Tensor:
        x = net.patch_embed(values)
        return x + net._get_pos_embed(x.shape[1:3])

    blocks = tuple(
        Block(block, int(block.dim), k in net.stage_ends) for k, block in enumerate(net.blocks)
    )
    widths = tuple(int(net.blocks[k].dim_out) for k in net.stage_ends)
    return Trunk(start, blocks, list, widths, last=True)


def _repvit(encoder: Any) -> Trunk:
    """EdgeTAM's four stages; what halves the resolution counts as a block."""
    net = encoder.backbone.timm_model
    blocks: list[Block] = []
    widths = []
    inside = int(net.stem.conv2.c.out_channels)
    for number in range(net.count):
        stage = net.get_submodule(f"stages_{number}")
        width = int(stage.blocks[0].channel_mixer.conv2.c.out_channels)
        if inside != width:
            blocks.append(Block(stage.downsample, inside, False))
        count = len(stage.blocks)
        blocks += [Block(block, width, k == count - 1) for k, block in enumerate(stage.blocks)]
        widths.append(width)
        inside = width
    return Trunk(net.stem, tuple(blocks), list, tuple(widths), last=False)


def _mini(encoder: Any) -> Trunk:
    """`mini`'s stages at strides 4, 8 and 16, and the last one halved once more by its maxima."""
    fine, middle, coarse = (
        int(stage[0][0].out_channels) for stage in (encoder.stem, encoder.stage8, encoder.stage16)
    )
    *before, last = encoder.stem
    blocks = [Block(last, fine, True)]
    for stage, inside, width in ((encoder.stage8, fine, middle), (encoder.stage16, middle, coarse)):
        count = len(stage)
        blocks += [
            Block(block, width if k else inside, k == count - 1) for k, block in enumerate(stage)
        ]

    def start(values: Tensor) -> Tensor:
        for layer in before:
            values = layer(values)
        return values

    def finish(kept: list[Tensor]) -> list[Tensor]:
        x4, x8, x16 = kept
        x16 = encoder.norm(x16)
        return [x4, x8, x16, F.max_pool2d(x16, 2)]

    return Trunk(start, tuple(blocks), finish, (fine, middle, coarse, coarse), last=False)


def _vit(encoder: Any) -> Trunk:
    """SAM's one map, after its neck; positions are resized to the input, relative ones by the
    library.
    """

    def start(values: Tensor) -> Tensor:
        x = _last(encoder.patch_embed.projection(values))
        if encoder.pos_embed is None:
            return x
        place = encoder.pos_embed
        if place.shape[1:3] != x.shape[1:3]:
            place = _last(
                F.interpolate(
                    _first(place).float(), x.shape[1:3], mode="bicubic", align_corners=False
                ).to(place.dtype)
            )
        return x + place

    def finish(kept: list[Tensor]) -> list[Tensor]:
        return [encoder.neck(_last(kept[0]))]

    count = len(encoder.layers)
    width = int(encoder.patch_embed.projection.out_channels)
    blocks = tuple(Block(layer, width, k == count - 1) for k, layer in enumerate(encoder.layers))
    return Trunk(start, blocks, finish, (int(encoder.neck.conv2.out_channels),), last=True)


def _last(maps: Tensor) -> Tensor:
    return maps.permute(0, 2, 3, 1)
