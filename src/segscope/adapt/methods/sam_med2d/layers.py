"""Adapter layers of SAM-Med2D, and the chance in its prompts: which masks, how far a box moves,
where clicks fall.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segscope.adapt.networks.encoder_blocks import Place
from segscope.simulate.regions import parts

Rng = np.random.Generator
Mask = NDArray[np.bool_]

MOST_SHIFT = 5
SHARE = 0.5
"""A box moves by at most so many pixels, and so much of its shorter side."""


class AdapterLayer(nn.Module):
    """What is added beside the MLP of a block to its normed map (section 3.2).

    A channel gate, a convolution to half the resolution and back, a skip around both, and a norm.
    `dense` is the published layer; `light` is ours: a 1x1 bottleneck, then convolutions of each
    channel by itself.

    Attributes:
        on: whether it takes part.
    """

    def __init__(self, width: int, *, light: bool, zero: bool) -> None:
        """Args:
        width: channels C.
        light: whether convolutions keep channels apart.
        zero: start from nothing, by a norm whose scale is zero; else as published, where the norm
            gives values of order one at once.
        """
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
        self.mix = (
            nn.Sequential(
                nn.Conv2d(width, width // 8, 1, bias=False),
                nn.Conv2d(width // 8, width, 1, bias=False),
            )
            if light
            else nn.Identity()
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
        found = self.spatial(self.mix(x * gate[..., None, None]))
        return self.norm((x + found[..., : x.shape[2], : x.shape[3]]).permute(0, 2, 3, 1))


def layer_size(place: Place, *, light: bool) -> int:
    """Numbers in an AdapterLayer of a block."""
    width = place.width
    if light:
        space = 25 * width + 2 * width * (width // 8)
    else:
        space = 25 * width**2
    return 2 * width * (width // 4) + space + 2 * width


def drawn(objects: int, count: int, rng: Rng) -> list[int]:
    """`count` objects with replacement; each once for a count of 0."""
    if count:
        return rng.integers(objects, size=count).tolist()
    return list(range(objects))


def shifted_box(mask: Mask, rng: Rng | None, *, largest: bool) -> tuple[float, float, float, float]:
    """Box of a mask (row, column), moved as a whole.

    Args:
        mask: with at least one pixel.
        rng: None leaves it where it is.
        largest: box of the largest 8-connected part, else of all of it.
    """
    if largest:
        rows, columns = next(parts(mask, 1))[0]
        x0 = columns.start
        y0 = rows.start
        x1 = columns.stop
        y1 = rows.stop
    else:
        down = np.flatnonzero(mask.any(1))
        across = np.flatnonzero(mask.any(0))
        x0 = across[0]
        y0 = down[0]
        x1 = across[-1] + 1
        y1 = down[-1] + 1
    reach = min(MOST_SHIFT, int(SHARE * min(x1 - x0, y1 - y0)))
    dx, dy = rng.integers(-reach, reach, 2).tolist() if rng is not None and reach else (0, 0)
    return float(x0 + dx), float(y0 + dy), float(x1 + dx), float(y1 + dy)


def one_point(mask: Mask, rng: Rng) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """x, y (1, 2) and label (1,) of a click: on the object, or off it (0) where there is none."""
    there = bool(mask.any())
    return _at(mask if there else ~mask, 1, rng), np.array([int(there)])


def error_points(
    truth: Mask, found: Mask, count: int, rng: Rng
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Clicks anywhere in what is wrong, with replacement.

    Returns:
        x, y (count, 2), and labels (count,): 1 where the object was missed, 0 where it was claimed;
        -1 anywhere, not to be used, if nothing is wrong.
    """
    wrong = truth != found
    if not wrong.any():
        return _at(~wrong, count, rng), np.full(count, -1)
    xy = _at(wrong, count, rng)
    columns, rows = xy.astype(int).T
    return xy, truth[rows, columns].astype(np.int64)


def _at(mask: Mask, count: int, rng: Rng) -> NDArray[np.float64]:
    rows, columns = np.nonzero(mask)
    chosen = rng.integers(len(rows), size=count)
    return np.stack([columns[chosen] + 0.5, rows[chosen] + 0.5], 1)
