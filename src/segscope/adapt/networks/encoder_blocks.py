"""Encoder blocks: the blocks of image encoders, alike for all families, and modules put inside
them.

An extended block keeps its own layers and their names. It calls up to three additional children,
which take maps with channels last and return what is added:

    after_mixing(mixed)              to the output of attention (EdgeTAM: of the depthwise layers),
                                     before the residual
    beside_mlp(normed)               to the output of the MLP, from the same normed map
    across_depth(attend, normed)     to the output of attention, from other slices of the batch; see
                                     `segscope.adapt.methods.med_sa.layers`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MethodType
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from segscope.adapt.networks.parameter_groups import network
from segscope.models.engine import Engine
from segscope.models.fast_attention import hiera_mixed, hiera_mlp, linear
from segscope.models.library import LibraryModule

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
        stride: pixels of the input for each cell of that map.
        stage: 0 to 3. Encoders of one stage (ViT, `mini`) count as four equal ones.
        begins: whether it makes the map coarser.
    """

    name: str
    block: LibraryModule
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
    list_places = {
        "sam": _vit_places,
        "sam2": _hiera_places,
        "edgetam": _repvit_places,
        "mini": _mini_places,
    }
    return list(list_places[engine.card.family](network(engine).vision_encoder))


def _vit_places(encoder: LibraryModule) -> Iterator[Place]:
    stages = quarters(len(encoder.layers))
    for k, block in enumerate(encoder.layers):
        width = block.layer_norm2.normalized_shape[0]
        yield Place(f"vision_encoder.layers.{k}", block, "sam", width, 16, stages[k])


def _hiera_places(encoder: LibraryModule) -> Iterator[Place]:
    for k, block in enumerate(encoder.backbone.blocks):
        name = f"vision_encoder.backbone.blocks.{k}"
        stage = sum(k > end for end in encoder.backbone.stage_ends)
        stride = 4 * 2**stage
        pooled = block.query_stride is not None
        yield Place(name, block, "sam2", block.dim_out, stride, stage, pooled)


def _repvit_places(encoder: LibraryModule) -> Iterator[Place]:
    for stage in range(encoder.backbone.timm_model.count):
        name = f"backbone.timm_model.stages_{stage}.blocks"
        for k, block in enumerate(encoder.get_submodule(name)):
            width = int(block.token_mixer.conv.c.out_channels)
            yield Place(f"vision_encoder.{name}.{k}", block, "edgetam", width, 4 * 2**stage, stage)


def _mini_places(encoder: LibraryModule) -> Iterator[Place]:
    blocks = list(encoder.stage16)[1:]
    stages = quarters(len(blocks))
    for k, block in enumerate(blocks):
        name = f"vision_encoder.stage16.{k + 1}"
        yield Place(name, block, "mini", block.norm2.normalized_shape[0], 16, stages[k])


def quarters(count: int) -> list[int]:
    """Which quarter each of `count` blocks is in; the last may be shorter: of 7, 2 + 2 + 2 + 1."""
    each = max(1, -(-count // 4))
    return [k // each for k in range(count)]


def find_entry(engine: Engine) -> nn.Module:
    """The module of an image encoder that takes the normalised image."""
    entries = {
        "sam": "patch_embed",
        "sam2": "backbone.patch_embed",
        "edgetam": "backbone.timm_model.stem",
        "mini": "stem",
    }
    encoder: nn.Module = network(engine).vision_encoder
    return encoder.get_submodule(entries[engine.card.family])


def count_heads(place: Place) -> int:
    """Heads of attention that suit a block: its own in a ViT, else one for 32 channels."""
    if place.family == "sam":
        return int(place.block.attn.num_attention_heads)
    return max(1, place.width // 32)


def extend(place: Place, **children: nn.Module) -> None:
    """Put children into a block (see the head of this module), and let it call them."""
    for name, child in children.items():
        place.block.add_module(name, child)
    forward = {"sam": _vit, "sam2": _hiera, "edgetam": _repvit, "mini": _mini}[place.family]
    place.block.forward = MethodType(forward, place.block)


def _extend_mixed(
    block: LibraryModule, mixed: Tensor, normed: Tensor, attend: Attend | None = None
) -> Tensor:
    """The output of attention with what the children add."""
    after = getattr(block, "after_mixing", None)
    depth = getattr(block, "across_depth", None)
    extended = mixed
    if after is not None:
        extended = mixed + after(mixed)
    if depth is not None and attend is not None:
        extended = extended + depth(attend, normed)
    return extended


def _extend_mlp(block: LibraryModule, x: Tensor, normed: Tensor) -> Tensor:
    child = getattr(block, "beside_mlp", None)
    if child is None:
        return x
    return x + child(normed)


def _vit(self: LibraryModule, hidden_states: Tensor) -> Tensor:
    """Layer of SAM's encoder on a map (B, row, column, channel)."""

    def attend(tokens: Tensor) -> Tensor:
        return cast(Tensor, self.attn(hidden_states=tokens)[0])

    if self.window_size:
        mixed = _vit_windows(self, hidden_states, attend)
    else:
        normed = self.layer_norm1(hidden_states)
        mixed = _extend_mixed(self, attend(normed), normed, attend)
    x = hidden_states + mixed
    normed = self.layer_norm2(x)
    return _extend_mlp(self, x + self.mlp(normed), normed)


def _vit_windows(block: LibraryModule, hidden_states: Tensor, attend: Attend) -> Tensor:
    """Attention of a layer that works in windows, with what the children add.

    With `pad_first` windows are padded before the norm, as Med-SA's code does: zeros become the
    norm's bias. With `depth_in_windows` the windows of all slices form one row, of which each
    `len(B)` neighbours count as depth.
    """
    window = block.window_size
    size = hidden_states.shape[1:3]
    if getattr(block, "pad_first", False):
        parts, padded = block.window_partition(hidden_states, window)
        parts = block.layer_norm1(parts)
        normed = block.window_unpartition(parts, window, padded, size)
    else:
        normed = block.layer_norm1(hidden_states)
        parts, padded = block.window_partition(normed, window)
    mixed = attend(parts)
    if getattr(block, "depth_in_windows", False):
        if hasattr(block, "across_depth"):
            mixed = mixed + block.across_depth(attend, parts, len(hidden_states))
        mixed = block.window_unpartition(mixed, window, padded, size)
        return _extend_mixed(block, mixed, normed)
    mixed = block.window_unpartition(mixed, window, padded, size)
    return _extend_mixed(block, mixed, normed, attend)


def _hiera(self: LibraryModule, hidden_states: Tensor, **_: object) -> Tensor:
    """Block of SAM 2's encoder on a map (B, row, column, channel)."""

    def attend(tokens: Tensor) -> Tensor:
        qkv = self.attn.qkv(tokens)
        return self.attn.proj(_attention(qkv, self.attn.num_attention_heads, self.attn.scale))

    residual, mixed = hiera_mixed(self, hidden_states)
    if hasattr(self, "across_depth"):
        normed = self.layer_norm1(hidden_states)
        x = residual + _extend_mixed(self, linear(self.attn.proj, mixed), normed, attend)
    elif hasattr(self, "after_mixing"):
        x = residual + _extend_mixed(self, linear(self.attn.proj, mixed), mixed)
    else:
        x = linear(self.attn.proj, mixed, residual=residual)
    normed = self.layer_norm2(x)
    return _extend_mlp(self, hiera_mlp(self, x, normed), normed)


def _attention(qkv: Tensor, heads: int, scale: float) -> Tensor:
    """Attention among all cells of each map (N, row, column, 3 x channel), without positions."""
    batch, rows, columns, _ = qkv.shape
    query, key, value = qkv.reshape(batch, rows * columns, 3, heads, -1).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(query, key, value, scale=scale)
    return mixed.transpose(1, 2).reshape(batch, rows, columns, -1)


def _repvit(self: LibraryModule, x: Tensor) -> Tensor:
    """Block of EdgeTAM's encoder on a map (B, channel, row, column)."""
    x = self.se(self.token_mixer(x))
    if hasattr(self, "after_mixing"):
        x = x + self.after_mixing(_last(x)).permute(0, 3, 1, 2)
    out = x + self.channel_mixer(x)
    if hasattr(self, "beside_mlp"):
        out = out + self.beside_mlp(_last(x)).permute(0, 3, 1, 2)
    return out


def _mini(self: LibraryModule, x: Tensor) -> Tensor:
    """Block of `mini`'s encoder on a map (B, channel, row, column)."""

    def attend(tokens: Tensor) -> Tensor:
        qkv = self.qkv(tokens)
        return self.out(_attention(qkv, self.heads, (tokens.shape[-1] // self.heads) ** -0.5))

    x = x + self.local(x)
    batch, width, rows, columns = x.shape
    tokens = x.flatten(2).transpose(1, 2)
    normed = self.norm1(tokens)
    qkv = self.qkv(normed).view(batch, -1, 3, self.heads, width // self.heads)
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(query, key, value)
    mixed = self.out(mixed.transpose(1, 2).reshape(batch, -1, width))
    shape = (batch, rows, columns, width)
    extended = _extend_mixed(self, mixed.view(shape), normed.view(shape), attend)
    tokens = tokens + extended.flatten(1, 2)
    normed = self.norm2(tokens)
    tokens = tokens + self.shrink(F.gelu(self.grow(normed)))
    tokens = _extend_mlp(self, tokens.view(shape), normed.view(shape))
    return tokens.permute(0, 3, 1, 2).contiguous()


def _last(maps: Tensor) -> Tensor:
    """(B, channel, row, column) to (B, row, column, channel), for linear layers."""
    # contiguous, as `segscope.models.fast_attention.contiguous_inputs` explains
    return maps.permute(0, 2, 3, 1).contiguous()
