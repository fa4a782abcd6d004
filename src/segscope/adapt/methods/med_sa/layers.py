"""Modules of Med-SA, and how they are added to mask decoders."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import MethodType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segscope.adapt.networks.encoder_blocks import Attend
from segscope.adapt.networks.parameter_groups import network
from segscope.models.engine import Engine
from segscope.models.library import LibraryModule

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu}


class Bottleneck(nn.Module):
    """Linear d to h, activation, Linear h to d, times `scale`: added to maps or tokens (..., d).

    Args:
        zero: start at zero (the second layer is zero); else with torch's initialisation.
    """

    def __init__(
        self,
        width: int,
        inside: int,
        *,
        scale: float = 1.0,
        activation: str = "gelu",
        zero: bool = True,
    ):
        super().__init__()
        self.scale = scale
        self.activation = activation
        self.down = nn.Linear(width, inside)
        self.up = nn.Linear(inside, width)
        if zero:
            nn.init.zeros_(self.up.weight)
            nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.up(_ACTIVATIONS[self.activation](self.down(x)))


class AcrossDepth(nn.Module):
    """SD-Trans: the block's own frozen attention a second time, along depth at each cell, then an
    adapter (section 3.2).

    The D slices of a batch are one chunk; at each cell their D tokens are arranged as a small map,
    so that attention with row and column positions can run. For attention without positions a code
    of the slice is added, zero at the start.

    Args:
        adapter: of the block's width.
        code: slices in the code, which is resized for chunks of another length; 0 for none.
    """

    def __init__(self, adapter: Bottleneck, code: int = 0) -> None:
        super().__init__()
        self.adapter = adapter
        self.code: nn.Parameter | None = None
        if code:
            self.code = nn.Parameter(torch.zeros(code, adapter.down.in_features))

    def forward(self, attend: Attend, normed: Tensor, depth: int = 0) -> Tensor:
        """What is added to the output of attention.

        Args:
            attend: attention with its projection, on (N, row, column, channel).
            normed: (N x D, row, column, channel), slices in order, D running fastest.
            depth: D; 0: all of the batch.
        """
        depth = depth or len(normed)
        _, rows, columns, width = normed.shape
        # whole maps, not windows, because windows of one slice would be mistaken for slices
        tokens = normed.view(-1, depth, rows, columns, width).permute(0, 2, 3, 1, 4)
        if self.code is not None:
            code = self.code.T[None]
            if depth != len(self.code):
                code = F.interpolate(code, depth, mode="linear", align_corners=False)
            tokens = tokens + code[0].T
        mixed = attend(tokens.reshape(-1, *arrange(depth), width))
        mixed = mixed.view(-1, rows, columns, depth, width)
        return self.adapter(mixed).permute(0, 3, 1, 2, 4).reshape(normed.shape)


def arrange(depth: int) -> tuple[int, int]:
    """Rows and columns of the small map of D tokens: the squarest with fewer rows than columns."""
    smaller = range(1, math.isqrt(depth - 1) + 1)
    rows = max((count for count in smaller if depth % count == 0), default=1)
    return rows, depth // rows


class HyperPrompt(nn.Module):
    """HyP-Adpt: an adapter whose inner matrix is made from the object's prompt (section 3.3).

    The paper does not say how prompts are reduced to one vector. Here the mean of an object's
    prompt tokens without padding is mapped to h values, and these to an h x h matrix that is added
    to the identity; then LayerNorm and ReLU follow, as in the paper. The last layer and the matrix
    are zero at the start; without a prompt the matrix is the identity.

    Args:
        width: of the tokens.
        inside: h.
        padding: embedding of "not a point", which pads prompts.
    """

    def __init__(self, width: int, inside: int, padding: nn.Embedding) -> None:
        super().__init__()
        self.down = nn.Linear(width, inside)
        self.up = nn.Linear(inside, width)
        self.prompt = nn.Linear(width, inside)
        self.matrix = nn.Linear(inside, inside * inside)
        self.norm = nn.LayerNorm(inside)
        self._padding = (
            padding,
        )  # in a tuple: it belongs to the prompt encoder, not to this module
        for layer in (self.up, self.matrix):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, prompts: Tensor) -> Tensor:
        """What is added to tokens (B, P, N, d) of P objects with prompt tokens (B, P, K, d)."""
        padding = self._padding[0].weight.to(prompts)
        real = ((prompts != padding) & (prompts != 0)).any(-1, keepdim=True)
        mean = (prompts * real).sum(2) / real.sum(2).clamp(min=1)
        change = self.matrix(self.prompt(mean)) * real.any(2)
        inside = self.down(x)
        side = inside.shape[-1]
        mixed = inside + inside @ change.unflatten(-1, (side, side))
        return self.up(F.relu(self.norm(mixed)))


def extend_decoder(
    engine: Engine,
    *,
    hyper: bool,
    ratio: float,
    scale: float,
    activation: str,
) -> list[str]:
    """Add three adapters to each layer of the mask decoder's transformer (section 3.3).

    (i) after the attention of tokens to the image, with `hyper` steered by the prompt; (ii) beside
    the MLP; (iii) after the attention of the image to the tokens and its residual, with another
    residual before the norm.

    Returns:
        Prefixes of their parameters' names.
    """
    model = network(engine)
    decoder = model.mask_decoder
    prefixes = []
    own = 1 + decoder.mask_tokens.num_embeddings + int(hasattr(decoder, "obj_score_token"))
    for number, layer in enumerate(decoder.transformer.layers):
        width = layer.layer_norm1.normalized_shape[0]
        inside = inner_width(width, ratio)
        device = layer.layer_norm1.weight.device
        first: nn.Module
        if hyper:
            first = HyperPrompt(width, inside, model.prompt_encoder.not_a_point_embed)
        else:
            first = Bottleneck(width, inside, activation=activation)
        layer.prompt_adapter = first.to(device)
        layer.mlp_adapter = Bottleneck(width, inside, scale=scale, activation=activation).to(device)
        layer.image_adapter = Bottleneck(width, inside, activation=activation).to(device)
        layer.own_tokens = own
        layer.forward = MethodType(_two_way, layer)
        prefixes += [
            f"mask_decoder.transformer.layers.{number}.{name}_adapter."
            for name in ("prompt", "mlp", "image")
        ]
    return prefixes


def _two_way(
    self: LibraryModule,
    queries: Tensor,
    keys: Tensor,
    query_point_embedding: Tensor,
    key_point_embedding: Tensor,
    attention_similarity: Tensor | None = None,
    **_: object,
) -> tuple[Tensor, Tensor, Tensor]:
    """Layer of the decoder's transformer with adapters: tokens (B, P, N, d), image (B, 1 or P,
    row * column, d).
    """
    if self.skip_first_layer_pe:
        queries = self.self_attn(query=queries, key=queries, value=queries)[0]
    else:
        query = queries + query_point_embedding
        queries = queries + self.self_attn(query=query, key=query, value=queries)[0]
    queries = self.layer_norm1(queries)

    key = keys + key_point_embedding
    mixed = self.cross_attn_token_to_image(
        query=queries + query_point_embedding,
        key=key,
        value=keys,
        attention_similarity=attention_similarity,
    )[0]
    if isinstance(self.prompt_adapter, HyperPrompt):
        mixed = mixed + self.prompt_adapter(mixed, query_point_embedding[:, :, self.own_tokens :])
    else:
        mixed = mixed + self.prompt_adapter(mixed)
    queries = self.layer_norm2(queries + mixed)
    queries = self.layer_norm3(queries + self.mlp(queries) + self.mlp_adapter(queries))

    back = self.cross_attn_image_to_token(
        query=key, key=queries + query_point_embedding, value=queries
    )[0]
    keys = keys + back
    keys = self.layer_norm4(keys + self.image_adapter(keys))
    return queries, keys, back


def use_residual_layers(engine: Engine) -> None:
    """Replace the layers of the mask decoder's transformer by those of EfficientSAM, which Med-SA's
    code has used since January 2024. Parameters are those of SAM's layers.

    The first layer adds its self-attention to the tokens, which SAM replaces by it; in the others,
    the position codes of the tokens stay in the tokens and in the values of self-attention.
    """
    for layer in network(engine).mask_decoder.transformer.layers:
        layer.forward = MethodType(_residual, layer)


def _residual(
    self: LibraryModule,
    queries: Tensor,
    keys: Tensor,
    query_point_embedding: Tensor,
    key_point_embedding: Tensor,
    attention_similarity: Tensor | None = None,
    **_: object,
) -> tuple[Tensor, Tensor, Tensor]:
    """Layer of EfficientSAM's decoder; shapes as in `_two_way`."""
    if not self.skip_first_layer_pe:
        queries = queries + query_point_embedding
    mixed = self.self_attn(query=queries, key=queries, value=queries)[0]
    queries = self.layer_norm1(queries + mixed)

    key = keys + key_point_embedding
    mixed = self.cross_attn_token_to_image(
        query=queries + query_point_embedding,
        key=key,
        value=keys,
        attention_similarity=attention_similarity,
    )[0]
    queries = self.layer_norm2(queries + mixed)
    queries = self.layer_norm3(queries + self.mlp(queries))

    back = self.cross_attn_image_to_token(
        query=key, key=queries + query_point_embedding, value=queries
    )[0]
    return queries, self.layer_norm4(keys + back), back


def inner_width(width: int, ratio: float) -> int:
    """Inner width of an adapter."""
    return max(1, round(width * ratio))


def count_bottleneck(width: int, ratio: float) -> int:
    """Parameters in a Bottleneck: 2dh + h + d."""
    inside = inner_width(width, ratio)
    return 2 * width * inside + inside + width


def count_hyper(width: int, ratio: float) -> int:
    """Parameters in a HyperPrompt."""
    inside = inner_width(width, ratio)
    linear = width * inside + inside
    return 2 * linear + inside * width + width + (inside + 1) * inside**2 + 2 * inside
