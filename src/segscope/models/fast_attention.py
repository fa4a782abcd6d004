"""The same functions with less arithmetic: exact up to rounding, switched on for every SAM 2 family
network.

What transformers' modules compute for nothing, or could compute from less:
  * image encoder attention makes a softmax across heads that nobody reads, and works on the padding
    of its windows;
  * sine positions and the resized position table are the same for every frame of a size;
  * memory attention projects 64-channel memories to 256-channel values. Attention weights sum to
    one, so softmax(q k') (W m + b) = W (softmax(q k') m) + b, and W merges with the output
    projection: the core then carries 64 channels, and no value is written. Rotary positions keep
        keys from the same treatment;
  * its first layer does the same work for every object on a frame;
  * on a CPU, linear layers read weights that oneDNN packed once (1.15 to 1.3 times the speed of the
    default on AVX-512, measured with torch 2.13); networks above `PACK_AT_MOST` parameters keep one
    copy of their weights instead.
"""

from __future__ import annotations

from types import MethodType
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segscope.models.library import LibraryModule

PACK_AT_MOST = 100_000_000
_ACTIVATIONS = {"none": lambda x: x, "gelu": F.gelu, "relu": F.relu}
QUERY_BLOCK = 256  # rows of attention weights held at once; keeps them in cache


def lighten(model: nn.Module) -> nn.Module:
    """Replace the wasteful parts of a SAM 2 family network in place; parameters and state dict stay
    as they are.
    """
    pack = sum(map(Tensor.numel, model.parameters())) <= PACK_AT_MOST and _can_pack()
    for module in model.modules():
        match type(module).__name__:
            case "Linear" if pack:
                module.forward = MethodType(_packed_linear, module)  # type: ignore[method-assign]
            case "Linear":
                module.register_forward_pre_hook(_contiguous)
            case "Sam2MultiScaleBlock":
                module.forward = MethodType(_hiera_block, module)  # type: ignore[method-assign]
            case "Sam2VisionNeck" | "EdgeTamVideoVisionNeck":
                encoding = cast(nn.Module, module.position_encoding)
                module.position_encoding = _SamePositions(encoding)
            case "Sam2HieraDetModel":
                table = _SameTable(cast(MethodType, module._get_pos_embed))
                module._get_pos_embed = table  # type: ignore[assignment]
    return model


def contiguous_inputs(model: nn.Module) -> nn.Module:
    """Let linear layers work on contiguous tensors, so that training does not change which product
    torch computes.

    For a tensor that is not contiguous torch takes one matrix product where the layer's weights ask
    for gradients, and a batch of products where they do not. The two may differ in the last bits,
    and then a network that was just trained does not answer like the same network loaded from its
    file.
    """
    for module in model.modules():
        if type(module) is nn.Linear:
            module.register_forward_pre_hook(_contiguous)
    return model


def _contiguous(_module: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    return inputs[0].contiguous()


def _can_pack() -> bool:
    packed = torch.ops.mkldnn
    return torch.backends.mkldnn.is_available() and hasattr(packed, "_linear_pointwise")


def linear(
    layer: LibraryModule, x: Tensor, activation: str = "none", residual: Tensor | None = None
) -> Tensor:
    """`activation(layer(x)) + residual`; in one go where the layer's weights are packed."""
    if isinstance(layer.forward, MethodType) and layer.forward.__func__ is _packed_linear:
        return _packed_linear(layer, x, activation, residual)
    return _added(_ACTIVATIONS[activation](layer(x)), residual)


def _added(values: Tensor, residual: Tensor | None) -> Tensor:
    if residual is None:
        return values
    return residual + values


def _packed_linear(
    self: LibraryModule, x: Tensor, activation: str = "none", residual: Tensor | None = None
) -> Tensor:
    """A linear layer; from packed weights where nothing is being trained."""
    weight = self.weight
    if (
        torch.is_grad_enabled()
        or (weight.device.type, weight.dtype) != ("cpu", torch.float32)
        or x.dim() < 2
    ):
        # contiguous for the reason that `contiguous_inputs` gives
        outputs = F.linear(x.contiguous(), weight, self.bias)
        return _added(_ACTIVATIONS[activation](outputs), residual)
    state = (weight.data_ptr(), _version(weight))
    if self.__dict__.get("_packed_state") != state:
        rows = x.numel() // x.shape[-1]
        self.__dict__["_packed"] = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), rows)
        self.__dict__["_packed_state"] = state
    packed = self.__dict__["_packed"]
    if residual is not None and activation == "none":
        return torch.ops.mkldnn._linear_pointwise.binary(
            x, residual.contiguous(), packed, self.bias, "add"
        )
    return _added(
        torch.ops.mkldnn._linear_pointwise(x, packed, self.bias, activation, [], "none"), residual
    )


def _version(tensor: Tensor) -> int:
    """How often a tensor was changed in place; one made in inference mode does not count that."""
    if tensor.is_inference():
        return 0
    return tensor._version


def _hiera_block(self: LibraryModule, hidden_states: Tensor, **_: object) -> Tensor:
    """Block of Hiera on a map (B, row, column, channel)."""
    residual, mixed = hiera_mixed(self, hidden_states)
    x = linear(self.attn.proj, mixed, residual=residual)
    return hiera_mlp(self, x, self.layer_norm2(x))


def hiera_mixed(block: LibraryModule, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
    """What a block of Hiera keeps of a map (B, row, column, channel), and what attention adds,
    before its projection.

    Windows are padded after the projection to queries, keys and values (of zeros it is the bias)
    instead of before.
    """
    attention = block.attn
    window = block.window_size
    x = block.layer_norm1(hidden_states)
    if block.dim == block.dim_out:
        residual = hidden_states
    else:
        residual = _pool(block.proj(x), block.query_stride)
    height, width = x.shape[1:3]
    qkv = attention.qkv(x)
    if window:
        down = -(-height // window)
        across = -(-width // window)
        if (down * window, across * window) != (height, width):
            padded = attention.qkv.bias.expand(len(x), down * window, across * window, -1).clone()
            padded[:, :height, :width] = qkv
            qkv = padded
        qkv = qkv.view(len(x), down, window, across, window, -1).transpose(2, 3).flatten(0, 2)
    mixed = _windows(attention, qkv)  # (window, head, row, column, channel of the head)
    height, width = residual.shape[1:3]
    if not window:
        return residual, mixed.permute(0, 2, 3, 1, 4).flatten(3)
    heads, side = mixed.shape[1:3]
    mixed = mixed.view(len(x), down, across, heads, side, side, -1).permute(0, 1, 4, 2, 5, 3, 6)
    return residual, mixed.reshape(len(x), down * side, across * side, -1)[:, :height, :width]


def hiera_mlp(block: LibraryModule, x: Tensor, normed: Tensor) -> Tensor:
    """A map with the answer of a block's MLP to its normed form added."""
    mlp = block.mlp
    shape = (type(mlp.activation).__name__, mlp.num_layers)
    if shape != ("GELUActivation", 2) or mlp.sigmoid_output:
        return x + mlp(normed)
    return linear(mlp.proj_out, linear(mlp.proj_in, normed, "gelu"), residual=x)


def _windows(attention: LibraryModule, qkv: Tensor) -> Tensor:
    """Attention inside each map (N, row, column, 3 x channel); queries are max-pooled where a stage
    begins.

    Returns:
        (N, head, row, column, channel of the head).
    """
    count, height, width, _ = qkv.shape
    query, key, value = qkv.reshape(
        count, height * width, 3, attention.num_attention_heads, -1
    ).unbind(2)
    if attention.query_stride:
        pooled = _pool(query.reshape(count, height, width, -1), attention.query_stride)
        height, width = pooled.shape[1:3]
        query = pooled.reshape(count, height * width, attention.num_attention_heads, -1)
    query, key, value = (item.transpose(1, 2) for item in (query, key, value))
    mixed = F.scaled_dot_product_attention(query, key, value, scale=attention.scale)
    return mixed.unflatten(2, (height, width))


def _pool(maps: Tensor, stride: tuple[int, int] | None) -> Tensor:
    if not stride:
        return maps
    return F.max_pool2d(maps.permute(0, 3, 1, 2), kernel_size=stride, stride=stride).permute(
        0, 2, 3, 1
    )


class _SamePositions(nn.Module):
    """A sine position encoding that computes each shape once."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self._made: dict[tuple[object, ...], Tensor] = {}

    def forward(
        self,
        shape: torch.Size,
        device: torch.device | str,
        dtype: torch.dtype,
        mask: Tensor | None = None,
    ) -> Tensor:
        if mask is not None:
            return self.inner(shape, device, dtype, mask)
        key = (tuple(shape), str(device), dtype)
        if key not in self._made:
            with torch.inference_mode(False), torch.no_grad():
                self._made[key] = self.inner(shape, device, dtype)
        return self._made[key]


class _SameTable:
    """A resized position table, cached while its parameters do not require gradients."""

    def __init__(self, make: MethodType) -> None:
        self._make = make
        self._made: dict[tuple[object, ...], Tensor] = {}

    def __call__(self, hw: tuple[int, int]) -> Tensor:
        model: LibraryModule = self._make.__self__
        source = model.pos_embed
        if torch.is_grad_enabled() and source.requires_grad:
            return self._make(hw)
        key = (
            tuple(hw),
            source.data_ptr(),
            _version(source),
            source.dtype,
            _version(model.pos_embed_window),
        )
        if key not in self._made:
            self._made.clear()
            with torch.inference_mode(False), torch.no_grad():
                self._made[key] = self._make(hw)
        return self._made[key]


def can_share(attention: LibraryModule) -> bool:
    """Whether memory attention has the shape that `memory_attention` below computes: SAM 2's, with
    one head, and with plain projections.

    Weights of neighbouring projections are multiplied there, which would pass by what an adapter
    adds to one of them.
    """
    if type(attention).__name__ not in (
        "Sam2VideoMemoryAttention",
        "Sam3TrackerVideoMemoryAttention",
    ):
        return False
    if attention.training or type(attention.layers[0].activation).__name__ != "ReLU":
        return False
    return all(_has_plain_head(layer.cross_attn_image) for layer in attention.layers)


def _has_plain_head(cross: LibraryModule) -> bool:
    projections = (cross.q_proj, cross.k_proj, cross.v_proj, cross.o_proj)
    return cross.num_attention_heads == 1 and all(type(each) is nn.Linear for each in projections)


def memory_attention(
    attention: LibraryModule,
    current: Tensor,
    position: Tensor,
    memory: Tensor,
    place: Tensor,
    last: int,
) -> Tensor:
    """SAM 2's memory attention for many objects on one frame.

    The first self-attention and its queries see no object yet and are computed once; values are
    absorbed where memories have fewer channels than the head.

    Args:
        attention: transformers' module.
        current, position: (token, 1, channel) frame and its positional encoding.
        memory, place: (key, O, 64) memories and their positions.
        last: how many keys at the end carry no rotary position (object pointers).

    Returns:
        (O, token, channel).
    """
    output = (current + 0.1 * position).transpose(0, 1)
    memory = memory.transpose(0, 1)
    keys = memory + place.transpose(0, 1)
    cos, sin = attention.rotary_emb(output, attention.position_ids)
    turn = torch.complex(cos[0, :, ::2].contiguous().float(), sin[0, :, ::2].contiguous().float())
    for layer in attention.layers:
        query = layer.layer_norm1(output)[:, None]
        mixed, _ = layer.self_attn(
            query=query, key=query, value=query, position_embeddings=(cos, sin)
        )
        output = output + mixed[:, 0]
        output = output + _cross(
            layer.cross_attn_image, layer.layer_norm2(output), keys, memory, turn, last
        )
        hidden = linear(layer.linear1, layer.layer_norm3(output), "relu")
        output = linear(layer.linear2, hidden, residual=output)
    return attention.layer_norm(output)


def _cross(
    cross: LibraryModule,
    query: Tensor,
    keys: Tensor,
    memory: Tensor,
    turn: Tensor,
    last: int,
) -> Tensor:
    turned = keys.shape[1] - last
    q = _rotate(cross.q_proj(query), turn)
    k = cross.k_proj(keys)
    spatial = _rotate(k[:, :turned].reshape(-1, len(turn), k.shape[-1]), turn).reshape(
        len(k), turned, -1
    )
    k = torch.cat([spatial, k[:, turned:]], dim=1)
    if cross.head_dim <= memory.shape[-1]:
        value = cross.v_proj(memory)
        # the fast kernels want a head axis
        q = q.expand(len(k), -1, -1)[:, None]
        k = k[:, None]
        value = value[:, None]
        return cross.o_proj(F.scaled_dot_product_attention(q, k, value, scale=cross.scaling)[:, 0])
    k = k.transpose(1, 2)
    blocks = (q * cross.scaling).split(QUERY_BLOCK, dim=1)
    mixed = torch.cat([torch.softmax(part @ k, dim=-1) @ memory for part in blocks], dim=1)
    weight = cross.o_proj.weight @ cross.v_proj.weight
    return F.linear(mixed, weight, cross.o_proj.weight @ cross.v_proj.bias + cross.o_proj.bias)


def _rotate(tokens: Tensor, turn: Tensor) -> Tensor:
    """Rotary positions on (..., token, channel), pairs of channels as complex numbers."""
    pairs = torch.view_as_complex(tokens.float().reshape(*tokens.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turn).flatten(-2).to(tokens.dtype)
