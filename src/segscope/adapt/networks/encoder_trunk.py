"""Encoder trunk: image encoders as maps at strides 4, 8, 16 and 32, with room for an adapter
before each block.

For prompt-free networks, which use the encoder without neck, prompt encoder, decoder and memory.
The engine's modules are used unchanged and in place; nothing is added to its network.
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

from segscope.adapt.networks.parameter_groups import network
from segscope.errors import UsageError
from segscope.models.engine import Engine, image_tensor
from segscope.models.library import LibraryModule
from segscope.models.mini import normalise
from segscope.models.sam2 import resize

STRIDE = 32
"""Sides of the input are multiples of this: Hiera tiles an 8 x 8 position table over its map of
stride 4.
"""

Fit = Literal["squash", "letterbox"]


@dataclass(frozen=True, slots=True, eq=False)
class TrunkBlock:
    """One block of a trunk.

    Attributes:
        run: the block, on maps as the trunk has them.
        inside: channels of its input.
        is_map: whether its output is one of the trunk's maps.
    """

    run: Callable[[Tensor], Tensor]
    inside: int
    is_map: bool


@dataclass(frozen=True, slots=True, eq=False)
class Trunk:
    """An image encoder.

    Attributes:
        start: from pixels (B, 3, side, side) to the input of the first block.
        blocks: in order.
        finish: from outputs of blocks to maps (B, channel, row, column), finest first.
        widths: channels of these maps: four of strides 4 to 32, or one of stride 16.
        channels_last: whether the blocks take (B, row, column, channel).
    """

    start: Callable[[Tensor], Tensor]
    blocks: tuple[TrunkBlock, ...]
    finish: Callable[[list[Tensor]], list[Tensor]]
    widths: tuple[int, ...]
    channels_last: bool

    @property
    def inside(self) -> tuple[int, ...]:
        """Channels of the input of each block."""
        return tuple(block.inside for block in self.blocks)

    def maps(
        self, pixels: Tensor, adapters: Sequence[Callable[[Tensor], Tensor]] = ()
    ) -> list[Tensor]:
        """Maps of images.

        Args:
            pixels: (B, 3, side, side), from `pixels`.
            adapters: none, or one for each block, on channels-last maps; the input of a block
                becomes x + adapter(x).

        Raises:
            UsageError: sides that are not multiples of 32.
        """
        check_side(*pixels.shape[-2:])
        x = self.start(pixels)
        outputs = []
        for k, block in enumerate(self.blocks):
            if adapters:
                x = x + self._adapt(adapters[k], x)
            x = block.run(x)
            if block.is_map:
                outputs.append(x)
        if self.channels_last:
            outputs = list(map(_channels_first, outputs))
        return self.finish(outputs)

    def _adapt(self, adapter: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """What an adapter adds to the input of a block."""
        # contiguous, as `segscope.models.fast_attention.contiguous_inputs` explains
        if self.channels_last:
            return adapter(x.contiguous())
        return _channels_first(adapter(_channels_last(x).contiguous()))


def trunk(engine: Engine) -> Trunk:
    """The trunk of an engine's network.

    Raises:
        UsageError: a family without one.
    """
    makers = {"sam2": _hiera, "edgetam": _repvit, "mini": _mini, "sam": _vit}
    if engine.card.family not in makers:
        raise UsageError(
            f"{engine.card.name}: only encoders of {', '.join(makers)} serve as trunks"
        )
    return makers[engine.card.family](network(engine).vision_encoder)


def check_side(*sides: int) -> None:
    """Refuse sides that no trunk supports."""
    for side in sides:
        if side < STRIDE or side % STRIDE:
            raise UsageError(
                f"the side of the input must be a multiple of {STRIDE} pixels, such as 256 or 352; "
                f"got {side}. Hiera tiles an 8 x 8 position table over its map of stride 4, and "
                "other sizes are not divisible"
            )


def pixels(
    engine: Engine, rgb: NDArray[np.uint8], side: int, fit: Fit = "squash"
) -> tuple[Tensor, tuple[int, int]]:
    """An image as the engine's encoder takes it, at any side.

    Args:
        rgb: (row, column, 3).
        side: of the square input.
        fit: "squash" resizes both sides to `side`; "letterbox" the longer one, with zeros to the
            right and below.

    Returns:
        (1, 3, side, side) float32, and how many of its rows and columns the image covers.
    """
    image = image_tensor(rgb).to(engine.device)
    inner = inner_size((rgb.shape[0], rgb.shape[1]), side, fit)
    values = _normalise(engine, resize(image.permute(2, 0, 1)[None].float(), inner))
    return F.pad(values, (0, side - inner[1], 0, side - inner[0])), inner


def _normalise(engine: Any, values: Tensor) -> Tensor:
    """Pixels (1, 3, row, column), 0 to 255, as the engine's encoder takes them."""
    if engine.card.family == "mini":
        return normalise(_channels_last(values))
    if engine.card.squash:  # MedSAM
        low = values.amin()
        high = values.amax()
        return (values - low) / (high - low).clamp(min=1e-8)
    unit = 255.0
    if engine.card.family == "sam":
        unit = 1.0  # its mean is given in bytes
    mean = torch.tensor(engine.mean, device=values.device)[:, None, None]
    std = torch.tensor(engine.std, device=values.device)[:, None, None]
    return (values / unit - mean) / std


def inner_size(size_hw: tuple[int, int], side: int, fit: Fit) -> tuple[int, int]:
    """Rows and columns of a square input that an image of `size_hw` covers."""
    if fit == "squash":
        return side, side
    scale = side / max(size_hw)
    return max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale))


def _channels_first(maps: Tensor) -> Tensor:
    return maps.permute(0, 3, 1, 2)


def _channels_last(maps: Tensor) -> Tensor:
    return maps.permute(0, 2, 3, 1)


def _hiera(encoder: LibraryModule) -> Trunk:
    """SAM 2's four stages; their widths double. A stage's first block still takes the width of the
    stage before.
    """
    net = encoder.backbone

    def start(values: Tensor) -> Tensor:
        x = net.patch_embed(values)
        return x + net._get_pos_embed(x.shape[1:3])

    blocks = tuple(
        TrunkBlock(block, int(block.dim), k in net.stage_ends) for k, block in enumerate(net.blocks)
    )
    widths = tuple(int(net.blocks[k].dim_out) for k in net.stage_ends)
    return Trunk(start, blocks, list, widths, channels_last=True)


def _repvit(encoder: LibraryModule) -> Trunk:
    """EdgeTAM's four stages; what halves the resolution counts as a block."""
    net = encoder.backbone.timm_model
    blocks: list[TrunkBlock] = []
    widths = []
    inside = int(net.stem.conv2.c.out_channels)
    for number in range(net.count):
        stage = net.get_submodule(f"stages_{number}")
        width = int(stage.blocks[0].channel_mixer.conv2.c.out_channels)
        if inside != width:
            blocks.append(TrunkBlock(stage.downsample, inside, False))
        count = len(stage.blocks)
        blocks += [TrunkBlock(block, width, k == count - 1) for k, block in enumerate(stage.blocks)]
        widths.append(width)
        inside = width
    return Trunk(net.stem, tuple(blocks), list, tuple(widths), channels_last=False)


def _mini(encoder: LibraryModule) -> Trunk:
    """`mini`'s stages at strides 4, 8 and 16, and the last one pooled once more."""
    fine, middle, coarse = (
        int(stage[0][0].out_channels) for stage in (encoder.stem, encoder.stage8, encoder.stage16)
    )
    *before, last = encoder.stem
    blocks = [TrunkBlock(last, fine, True)]
    for stage, inside, width in ((encoder.stage8, fine, middle), (encoder.stage16, middle, coarse)):
        count = len(stage)
        blocks += [
            TrunkBlock(block, width if k else inside, k == count - 1)
            for k, block in enumerate(stage)
        ]

    def start(values: Tensor) -> Tensor:
        for layer in before:
            values = layer(values)
        return values

    def finish(outputs: list[Tensor]) -> list[Tensor]:
        x4, x8, x16 = outputs
        x16 = encoder.norm(x16)
        return [x4, x8, x16, F.max_pool2d(x16, 2)]

    return Trunk(start, tuple(blocks), finish, (fine, middle, coarse, coarse), channels_last=False)


def _vit(encoder: LibraryModule) -> Trunk:
    """SAM's one map, after its neck. Absolute positions are resized here, relative ones by the
    library.
    """

    def start(values: Tensor) -> Tensor:
        x = _channels_last(encoder.patch_embed.projection(values))
        if encoder.pos_embed is None:
            return x
        return x + _resize_positions(encoder.pos_embed, x)

    def finish(outputs: list[Tensor]) -> list[Tensor]:
        return [encoder.neck(_channels_last(outputs[0]))]

    count = len(encoder.layers)
    width = int(encoder.patch_embed.projection.out_channels)
    blocks = tuple(
        TrunkBlock(layer, width, k == count - 1) for k, layer in enumerate(encoder.layers)
    )
    return Trunk(start, blocks, finish, (int(encoder.neck.conv2.out_channels),), channels_last=True)


def _resize_positions(table: Tensor, x: Tensor) -> Tensor:
    """A position table (1, row, column, channel) at the size of a map (B, row, column, channel)."""
    size = x.shape[1:3]
    if table.shape[1:3] == size:
        return table
    resized = F.interpolate(
        _channels_first(table).float(), size, mode="bicubic", align_corners=False
    )
    return _channels_last(resized.to(table.dtype))
