"""Med-SA as its description says, from the tensors of a published file: a second implementation,
which shares nothing with the first.

Names are official ones. Sizes are those of the small SAM of `support.engines`: 2 blocks, of which
the first works in windows of 4 cells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOWS = (4, 0)
HEADS = 2
DECODER_HEADS = 8


@dataclass(frozen=True)
class MedSaReference:
    """The network in a file.

    Attributes:
        state: tensors of the file.
        since_2024: whether the file has the second layout.
    """

    state: Mapping[str, Tensor]
    since_2024: bool = False

    def click(self, pixels: Tensor, x: float, y: float) -> Tensor:
        """(row, column) logits of the single mask for a click in pixels of the input.

        Args:
            pixels: (1, 3, side, side), 0 to 1.
        """
        image = self.encode(pixels)
        tokens = self.tokens(x, y, pixels.shape[-1])
        return self.decode(image, tokens)

    # --- encoder ---------------------------------------------------------------------------------

    def encode(self, pixels: Tensor) -> Tensor:
        """(1, channel, row, column) map."""
        stem = "image_encoder."
        x = F.conv2d(
            pixels,
            self.state[f"{stem}patch_embed.proj.weight"],
            self.state[f"{stem}patch_embed.proj.bias"],
            stride=16,
        ).permute(0, 2, 3, 1)
        table = self.state[f"{stem}pos_embed"]
        if self.since_2024:
            table = F.interpolate(
                table.permute(0, 3, 1, 2), x.shape[1:3], mode="bicubic", align_corners=False
            ).permute(0, 2, 3, 1)
        x = x + table
        for number, window in enumerate(WINDOWS):
            x = self.block(x, f"{stem}blocks.{number}.", window)
        x = x.permute(0, 3, 1, 2)
        x = F.conv2d(x, self.state[f"{stem}neck.0.weight"])
        x = self.channel_norm(x, f"{stem}neck.1")
        x = F.conv2d(x, self.state[f"{stem}neck.2.weight"], padding=1)
        return self.channel_norm(x, f"{stem}neck.3")

    def block(self, x: Tensor, stem: str, window: int) -> Tensor:
        """Windows are cut from the map before the norm, so padding becomes the norm's bias."""
        _, rows, columns, width = x.shape
        side = window or rows
        pad_rows = -rows % side
        pad_columns = -columns % side
        padded = F.pad(x, (0, 0, 0, pad_columns, 0, pad_rows))
        down = padded.shape[1] // side
        across = padded.shape[2] // side
        parts = padded.view(down, side, across, side, width).transpose(1, 2)
        parts = parts.reshape(-1, side, side, width)
        mixed = self.attention(self.norm(parts, f"{stem}norm1", 1e-6), f"{stem}attn.")
        mixed = mixed + self.adapter(mixed, f"{stem}Space_Adapter.")
        mixed = mixed.view(down, across, side, side, width).transpose(1, 2)
        mixed = mixed.reshape(1, *padded.shape[1:])[:, :rows, :columns]
        x = x + mixed
        normed = self.norm(x, f"{stem}norm2", 1e-6)
        hidden = F.gelu(self.linear(normed, f"{stem}mlp.lin1"))
        beside = 0.5 * self.adapter(normed, f"{stem}MLP_Adapter.")
        return x + self.linear(hidden, f"{stem}mlp.lin2") + beside

    def adapter(self, x: Tensor, stem: str) -> Tensor:
        return self.linear(F.gelu(self.linear(x, f"{stem}D_fc1")), f"{stem}D_fc2")

    def attention(self, x: Tensor, stem: str) -> Tensor:
        """Attention with relative positions of rows and columns."""
        count, side, _, width = x.shape
        each = width // HEADS
        qkv = self.linear(x, f"{stem}qkv").view(count, side * side, 3, HEADS, each)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) / math.sqrt(each)
        names = ("rel_h", "rel_w") if self.since_2024 else ("rel_pos_h", "rel_pos_w")
        by_row, by_column = (self.relative(self.state[stem + name], side) for name in names)
        maps = query.view(count, HEADS, side, side, each)
        rows = torch.einsum("nhyxc,ykc->nhyxk", maps, by_row)
        columns = torch.einsum("nhyxc,xkc->nhyxk", maps, by_column)
        bias = rows[..., :, None] + columns[..., None, :]
        scores = scores + bias.reshape(scores.shape)
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(count, side, side, width)
        return self.linear(mixed, f"{stem}proj")

    def relative(self, table: Tensor, side: int) -> Tensor:
        """(query, key, channel) of a table with an entry for each distance."""
        if len(table) != 2 * side - 1:
            table = F.interpolate(table.T[None], 2 * side - 1, mode="linear")[0].T
        cells = torch.arange(side)
        return table[cells[:, None] - cells[None, :] + side - 1]

    # --- prompt ----------------------------------------------------------------------------------

    def tokens(self, x: float, y: float, side: int) -> Tensor:
        """Output tokens, the click, and "not a point": (token, channel)."""
        click = self.position(torch.tensor([[float(x) + 0.5, float(y) + 0.5]]) / side)
        click = click + self.state["prompt_encoder.point_embeddings.1.weight"]
        padding = self.state["prompt_encoder.not_a_point_embed.weight"]
        outputs = (
            self.state["mask_decoder.iou_token.weight"],
            self.state["mask_decoder.mask_tokens.weight"],
        )
        return torch.cat([*outputs, click, padding])

    def position(self, xy: Tensor) -> Tensor:
        """(..., channel) code of places, 0 to 1."""
        matrix = self.state["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"]
        angles = 2 * math.pi * (2 * xy - 1) @ matrix
        return torch.cat([angles.sin(), angles.cos()], -1)

    # --- decoder ---------------------------------------------------------------------------------

    def decode(self, image: Tensor, tokens: Tensor) -> Tensor:
        """(row, column) logits of mask 0."""
        _, width, rows, columns = image.shape
        y, x = torch.meshgrid(
            (torch.arange(rows) + 0.5) / rows,
            (torch.arange(columns) + 0.5) / columns,
            indexing="ij",
        )
        places = self.position(torch.stack([x, y], -1)).view(-1, width)
        image = image + self.state["prompt_encoder.no_mask_embed.weight"].view(1, -1, 1, 1)
        keys = image[0].flatten(1).T
        queries = tokens
        stem = "mask_decoder.transformer."
        for number in range(2):
            queries, keys = self.two_way(queries, keys, tokens, places, number)
        mixed = self.cross(
            queries + tokens, keys + places, keys, f"{stem}final_attn_token_to_image."
        )
        queries = self.norm(queries + mixed, f"{stem}norm_final_attn", 1e-5)
        up = keys.T.view(1, width, rows, columns)
        stem = "mask_decoder.output_upscaling."
        up = self.enlarge(up, f"{stem}0")
        up = self.enlarge(F.gelu(self.channel_norm(up, f"{stem}1")), f"{stem}3")
        up = F.gelu(up)
        weights = queries[1]
        for layer in range(3):
            weights = self.linear(
                weights, f"mask_decoder.output_hypernetworks_mlps.0.layers.{layer}"
            )
            if layer < 2:
                weights = weights.relu()
        return torch.einsum("c,cyx->yx", weights, up[0])

    def two_way(
        self, queries: Tensor, keys: Tensor, tokens: Tensor, places: Tensor, number: int
    ) -> tuple[Tensor, Tensor]:
        stem = f"mask_decoder.transformer.layers.{number}."
        own = f"{stem}self_attn."
        if self.since_2024:
            if number:
                queries = queries + tokens
            queries = queries + self.cross(queries, queries, queries, own)
        elif number:
            placed = queries + tokens
            queries = queries + self.cross(placed, placed, queries, own)
        else:
            queries = self.cross(queries, queries, queries, own)
        queries = self.norm(queries, f"{stem}norm1", 1e-5)
        mixed = self.cross(
            queries + tokens, keys + places, keys, f"{stem}cross_attn_token_to_image."
        )
        queries = self.norm(queries + mixed, f"{stem}norm2", 1e-5)
        first, second = ("layers.0.0", "fc") if self.since_2024 else ("lin1", "lin2")
        hidden = self.linear(queries, f"{stem}mlp.{first}").relu()
        queries = queries + self.linear(hidden, f"{stem}mlp.{second}")
        queries = self.norm(queries, f"{stem}norm3", 1e-5)
        mixed = self.cross(
            keys + places, queries + tokens, queries, f"{stem}cross_attn_image_to_token."
        )
        return queries, self.norm(keys + mixed, f"{stem}norm4", 1e-5)

    def cross(self, query: Tensor, key: Tensor, value: Tensor, stem: str) -> Tensor:
        """Attention of (N, d) to (M, d)."""
        query, key, value = (
            self.linear(part, f"{stem}{name}_proj")
            .unflatten(-1, (DECODER_HEADS, -1))
            .transpose(0, 1)
            for part, name in ((query, "q"), (key, "k"), (value, "v"))
        )
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        mixed = (scores.softmax(-1) @ value).transpose(0, 1).flatten(1)
        return self.linear(mixed, f"{stem}out_proj")

    # --- layers ----------------------------------------------------------------------------------

    def linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def norm(self, x: Tensor, name: str, eps: float) -> Tensor:
        weight = self.state[f"{name}.weight"]
        return F.layer_norm(x, weight.shape, weight, self.state[f"{name}.bias"], eps)

    def channel_norm(self, x: Tensor, name: str) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1), name, 1e-6).permute(0, 3, 1, 2)

    def enlarge(self, x: Tensor, name: str) -> Tensor:
        weight = self.state[f"{name}.weight"]
        return F.conv_transpose2d(x, weight, self.state[f"{name}.bias"], stride=2)
