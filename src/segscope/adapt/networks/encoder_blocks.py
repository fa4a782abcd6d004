"""Blocks of image encoders, alike for all families: where they are, and how modules are put inside
them.

A grown block keeps its own layers and their names. It asks up to three further children, which see
maps with channels last and give what is added:

    after_mixing(mixed)              to what attention (EdgeTAM: the depthwise layers) answered,
    before the residual beside_mlp(normed)               to what the MLP answered to the same normed
    map across_depth(attend, normed)     to attention's answer again, from other slices of the
    batch; see `med_sa_parts`
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import MethodType
from typing import Any, cast

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, cat, nn

from segscope.adapt.method import network
from segscope.models.engine import Engine, Features
from segscope.models.fast_attention import hiera_mixed, hiera_mlp, linear

Attend = Callable[[Tensor], Tensor]
"""Attention of a block with its projection, on maps (N, row, column, channel)."""


@dataclass(frozen=True, eq=False)
class Place:
    """A block of an image encoder.

    Attributes:
        name: path of the block from the network.
        block: the module.
        family: of the network.
        width: channels of the map that leaves it.
        stride: pixels of the input for each place of that map.
        stage: 0 to 3. Encoders of one stage (ViT, `mini`) count as four equal ones.
        begins: whether it makes the map coarser.
    """

    name: str
    block: Any
    family: str
    width: int
    stride: int
    stage: int
    begins: bool = False

    @property
    def channels_last(self) -> bool:
        """Whether its maps are (B, row, column, channel), else (B, channel, row, column)."""
        return self.family in ("sam", "sam2")


def places(engine: Engine) -> list[Place]:
    """Blocks of an engine's image encoder, in order."""
    model = network(engine)
    family = engine.card.family
    encoder = model.vision_encoder
    if family == "sam":
        return [
            Place(
                f"vision_encoder.layers.{k}",
                each,
                family,
                each.layer_norm2.normalized_shape[0],
                16,
                stage,
            )
            for k, (each, stage) in enumerate(
                zip(encoder.layers, quarters(len(encoder.layers)), strict=True)
            )
        ]
    if family == "sam2":
        ends = encoder.backbone.stage_ends
        stages = [sum(k > end for end in ends) for k in range(len(encoder.backbone.blocks))]
        return [
            Place(
                f"vision_encoder.backbone.blocks.{k}",
                each,
                family,
                each.dim_out,
                4 * 2**stage,
                stage,
                each.query_stride is not None,
            )
            for k, (each, stage) in enumerate(zip(encoder.backbone.blocks, stages, strict=True))
        ]
    if family == "edgetam":
        found = []
        for stage in range(encoder.backbone.timm_model.count):
            name = f"vision_encoder.backbone.timm_model.stages_{stage}.blocks"
            for k, each in enumerate(model.get_submodule(name)):
                width = int(each.token_mixer.conv.c.out_channels)
                found.append(Place(f"{name}.{k}", each, family, width, 4 * 2**stage, stage))
        return found
    stage16 = list(encoder.stage16)[1:]
    return [
        Place(
            f"vision_encoder.stage16.{k + 1}",
            each,
            family,
            each.norm2.normalized_shape[0],
            16,
            stage,
        )
        for k, (each, stage) in enumerate(zip(stage16, quarters(len(stage16)), strict=True))
    ]


def quarters(count: int) -> list[int]:
    """Which quarter each of `count` blocks is in; the last may be shorter: of 7, 2 + 2 + 2 + 1."""
    each = max(1, -(-count // 4))
    return [k // each for k in range(count)]


def entry(engine: Engine) -> nn.Module:
    """The module of an image encoder that is given the normalised image."""
    encoder = network(engine).vision_encoder
    match engine.card.family:
        case "sam":
            found: nn.Module = encoder.patch_embed
        case "sam2":
            found = encoder.backbone.patch_embed
        case "edgetam":
            found = encoder.backbone.timm_model.stem
        case _:
            found = encoder.stem
    return found


def heads(place: Place) -> int:
    """Heads of attention that suit a block: its own in a ViT, else one for 32 channels."""
    if place.family == "sam":
        return int(place.block.attn.num_attention_heads)
    return max(1, place.width // 32)


def grow(place: Place, **children: nn.Module) -> None:
    """Put children into a block (see the head of this module), and let it ask them."""
    for name, child in children.items():
        place.block.add_module(name, child)
    forward = {"sam": _vit, "sam2": _hiera, "edgetam": _repvit, "mini": _mini}[place.family]
    place.block.forward = MethodType(forward, place.block)


def _more(block: Any, mixed: Tensor, normed: Tensor, attend: Attend | None = None) -> Tensor:
    """A map of attention's answers with what the children add."""
    after = getattr(block, "after_mixing", None)
    depth = getattr(block, "across_depth", None)
    if after is None:
        found = mixed
    else:
        found = mixed + after(mixed)
    if depth is None or attend is None:
        return found
    return found + depth(attend, normed)


def _beside(block: Any, x: Tensor, normed: Tensor) -> Tensor:
    child = getattr(block, "beside_mlp", None)
    if child is None:
        return x
    return x + child(normed)


def _vit(self: Any, hidden_states: Tensor) -> Tensor:
    """Layer of SAM's encoder on a map (B, row, column, channel).

    With `pad_first` windows are padded before the norm, as Med-SA's code has it: zeros become the
    norm's bias. With `depth_in_windows` the windows of all slices stand in one row, of which each
    `len(B)` neighbours count as depth.
    """
    window = self.window_size

    def attend(tokens: Tensor) -> Tensor:
        return cast(Tensor, self.attn(hidden_states=tokens)[0])

    size = hidden_states.shape[1:3]
    if not window:
        normed = self.layer_norm1(hidden_states)
        mixed = _more(self, attend(normed), normed, attend)
    else:
        if getattr(self, "pad_first", False):
            parts, padded = self.window_partition(hidden_states, window)
            parts = self.layer_norm1(parts)
            normed = self.window_unpartition(parts, window, padded, size)
        else:
            normed = self.layer_norm1(hidden_states)
            parts, padded = self.window_partition(normed, window)
        mixed = attend(parts)
        row = getattr(self, "depth_in_windows", False)
        if row and hasattr(self, "across_depth"):
            mixed = mixed + self.across_depth(attend, parts, len(hidden_states))
        mixed = self.window_unpartition(mixed, window, padded, size)
        mixed = _more(self, mixed, normed, None if row else attend)
    x = hidden_states + mixed
    normed = self.layer_norm2(x)
    return _beside(self, x + self.mlp(normed), normed)


def _hiera(self: Any, hidden_states: Tensor, **_: Any) -> Tensor:
    """Block of SAM 2's encoder on a map (B, row, column, channel)."""

    def attend(tokens: Tensor) -> Tensor:
        qkv = self.attn.qkv(tokens)
        return self.attn.proj(_attention(qkv, self.attn.num_attention_heads, self.attn.scale))

    residual, mixed = hiera_mixed(self, hidden_states)
    if hasattr(self, "across_depth"):
        x = residual + _more(
            self, linear(self.attn.proj, mixed), self.layer_norm1(hidden_states), attend
        )
    elif hasattr(self, "after_mixing"):
        x = residual + _more(self, linear(self.attn.proj, mixed), mixed)
    else:
        x = linear(self.attn.proj, mixed, residual=residual)
    normed = self.layer_norm2(x)
    return _beside(self, hiera_mlp(self, x, normed), normed)


def _attention(qkv: Tensor, count: int, scale: float) -> Tensor:
    """Attention among all places of each map (N, row, column, 3 x channel), without positions."""
    batch, rows, columns, _ = qkv.shape
    query, key, value = qkv.reshape(batch, rows * columns, 3, count, -1).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(query, key, value, scale=scale)
    return mixed.transpose(1, 2).reshape(batch, rows, columns, -1)


def _repvit(self: Any, x: Tensor) -> Tensor:
    """Block of EdgeTAM's encoder on a map (B, channel, row, column)."""
    x = self.se(self.token_mixer(x))
    if hasattr(self, "after_mixing"):
        x = x + self.after_mixing(_last(x)).permute(0, 3, 1, 2)
    out = x + self.channel_mixer(x)
    if hasattr(self, "beside_mlp"):
        out = out + self.beside_mlp(_last(x)).permute(0, 3, 1, 2)
    return out


def _mini(self: Any, x: Tensor) -> Tensor:
    """Block of `mini`'s encoder on a map (B, channel, row, column)."""

    def attend(tokens: Tensor) -> Tensor:
        qkv = self.qkv(tokens)
        return self.out(_attention(qkv, self.heads, (tokens.shape[-1] // self.heads) ** -0.5))

    x = x + self.local(x)
    batch, width, rows, columns = x.shape
    tokens = x.flatten(2).transpose(1, 2)
    normed = self.norm1(tokens)
    q, k, v = (
        self.qkv(normed).view(batch, -1, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
    )
    mixed = self.out(
        F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, -1, width)
    )
    shape = (batch, rows, columns, width)
    tokens = tokens + _more(self, mixed.view(shape), normed.view(shape), attend).flatten(1, 2)
    normed = self.norm2(tokens)
    tokens = tokens + self.shrink(F.gelu(self.grow(normed)))
    tokens = _beside(self, tokens.view(shape), normed.view(shape))
    return tokens.permute(0, 3, 1, 2).contiguous()


def _last(maps: Tensor) -> Tensor:
    """(B, channel, row, column) to (B, row, column, channel), for linear layers."""
    # contiguous, as `segscope.models.fast_attention.contiguous_inputs` explains
    return maps.permute(0, 2, 3, 1).contiguous()


def encode_together(engine: Engine, frames: Sequence[NDArray[np.uint8]]) -> list[Features]:
    """Features of slices (row, column, 3) that pass the encoder as one batch, so that its blocks
    see all of them.
    """
    model = network(engine)
    held = engine
    pixels: Any = held.pixels  # type: ignore[attr-defined]
    if engine.card.family != "sam":
        pixels = partial(held.pixels, video=False)  # type: ignore[attr-defined]
    batch = cat([pixels(frame) for frame in frames]).to(engine.dtype)
    position = None
    if engine.card.family == "sam":
        maps = [model.vision_encoder(batch).last_hidden_state]
    elif engine.card.family == "mini":
        maps = model.encode(batch)
        position = model.position().to(engine.dtype)
    else:
        found = model.get_image_features(batch, return_dict=True)
        maps = [_square(item) for item in found.fpn_hidden_states]
        position = _square(found.fpn_position_encoding[-1])[:1].to(engine.dtype)
    return [
        Features(
            tuple(item[k : k + 1] for item in maps), (frame.shape[0], frame.shape[1]), position
        )
        for k, frame in enumerate(frames)
    ]


def _square(tokens: Tensor) -> Tensor:
    """(row * column, B, channel) of a square map to (B, channel, row, column)."""
    side = round(len(tokens) ** 0.5)
    return tokens.permute(1, 2, 0).unflatten(2, (side, side))
