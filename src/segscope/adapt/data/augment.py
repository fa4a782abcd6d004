"""Augmentation: a change is drawn as a value, then applied to frames and labels alike.

Written with torch alone, because installing torchvision would replace the CPU build of torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

FREE_TURN = 0.15  # share of changes with a free angle, not only quarter turns


@dataclass(frozen=True, slots=True)
class Change:
    """One drawn change of a frame or a clip.

    Attributes:
        mirror: left and right swapped.
        quarters: number of turns by 90 degrees.
        turn: additional angle in radians.
        zoom: factor of size around the centre.
        shift_xy: in shares of the sides.
        gamma, gain, offset: of intensities from 0 to 1: gain * value ** gamma + offset.
        blur: standard deviation in pixels.
        noise: standard deviation, of intensities from 0 to 1.
        seed: of the noise.
    """

    mirror: bool = False
    quarters: int = 0
    turn: float = 0.0
    zoom: float = 1.0
    shift_xy: tuple[float, float] = (0.0, 0.0)
    gamma: float = 1.0
    gain: float = 1.0
    offset: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    seed: int = 0

    def move(
        self, rgb: NDArray[np.uint8], planes: NDArray[np.uint16]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """Frames (F, row, column, 3) and labels (P, F, row, column) with the geometric part
        applied.

        Beyond the edge both are continued by reflection.
        """
        if self.mirror:
            rgb = rgb[:, :, ::-1]
            planes = planes[..., ::-1]
        if self.quarters:
            rgb = np.rot90(rgb, self.quarters, (1, 2))
            planes = np.rot90(planes, self.quarters, (2, 3))
        rgb = np.ascontiguousarray(rgb)
        planes = np.ascontiguousarray(planes)
        if (self.turn, self.zoom, *self.shift_xy) == (0, 1, 0, 0):
            return rgb, planes
        height, width = rgb.shape[1:3]
        cos = math.cos(self.turn) / self.zoom
        sin = math.sin(self.turn) / self.zoom
        # grid_sample scales both sides to -1 ... 1, so a turn on an oblong frame needs their ratio
        matrix = torch.tensor(
            [
                [cos, -sin * height / width, self.shift_xy[0]],
                [sin * width / height, cos, self.shift_xy[1]],
            ]
        )
        grid = F.affine_grid(matrix[None], [1, 1, height, width], align_corners=False)
        moved = _sample(torch.from_numpy(rgb).permute(0, 3, 1, 2).flatten(0, 1), grid, "bilinear")
        labels = _sample(torch.from_numpy(planes.astype(np.int32)).flatten(0, 1), grid, "nearest")
        frames = _to_bytes(moved).view(len(rgb), 3, height, width).permute(0, 2, 3, 1)
        moved_planes = labels.numpy().astype(np.uint16).reshape(planes.shape)
        return np.ascontiguousarray(frames.numpy()), moved_planes

    def shade(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Frames (F, row, column, 3) with the intensity part applied, equally to all frames except
        for the noise.
        """
        if (self.gamma, self.gain, self.offset, self.blur, self.noise) == (1.0, 1.0, 0.0, 0.0, 0.0):
            return rgb
        table = self.gain * (np.arange(256, dtype=np.float32) / 255) ** self.gamma + self.offset
        values = torch.from_numpy(table[rgb]).permute(0, 3, 1, 2)
        if self.blur:
            values = _blur(values, self.blur)
        if self.noise:
            rng = np.random.default_rng(self.seed)
            # the same noise in all channels, so that grey images stay grey
            grain = rng.standard_normal((len(rgb), 1, *values.shape[-2:]), dtype=np.float32)
            values = values + self.noise * torch.from_numpy(grain)
        return np.ascontiguousarray(_to_bytes(values * 255).permute(0, 2, 3, 1).numpy())


SAME = Change()


def draw(rng: np.random.Generator, strength: float) -> Change:
    """A random change; `strength` 0 gives none, 1 the full range."""
    if strength <= 0:
        return SAME
    noisy, blurred, moved = rng.random(3) < strength * np.array([0.3, 0.15, 0.8])
    turned = rng.random() < FREE_TURN + 0.35 * strength
    mirror = bool(rng.random() < 0.5)
    quarters = 0
    if rng.random() < 0.5 * strength:
        quarters = int(rng.integers(4))
    turn = 0.0
    if turned:
        turn = _uniform(rng, 0.35) * strength
    zoom = 1.0
    shift = (0.0, 0.0)
    if moved:
        zoom = float(np.exp(_uniform(rng, 0.22) * strength))
        shift = (_uniform(rng, 0.1) * strength, _uniform(rng, 0.1) * strength)
    gamma = float(np.exp(_uniform(rng, 0.35) * strength))
    gain = 1 + _uniform(rng, 0.2) * strength
    offset = _uniform(rng, 0.1) * strength
    blur = 0.0
    if blurred:
        blur = float(rng.uniform(0.4, 1.2))
    noise = 0.0
    if noisy:
        noise = float(rng.uniform(0.01, 0.06) * strength)
    seed = int(rng.integers(2**31))
    return Change(mirror, quarters, turn, zoom, shift, gamma, gain, offset, blur, noise, seed)


def _uniform(rng: np.random.Generator, limit: float) -> float:
    """A number from -limit to limit."""
    return float(rng.uniform(-limit, limit))


def _to_bytes(values: torch.Tensor) -> torch.Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)


def _sample(maps: torch.Tensor, grid: torch.Tensor, mode: str) -> torch.Tensor:
    """(N, row, column) at the places of a grid (1, row, column, 2)."""
    return F.grid_sample(
        maps[None].float(), grid, mode=mode, padding_mode="reflection", align_corners=False
    )[0]


def _blur(values: torch.Tensor, spread: float) -> torch.Tensor:
    reach = math.ceil(2 * spread)
    if min(values.shape[-2:]) <= reach:
        return values
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / spread) ** 2)
    line = (line / line.sum()).expand(values.shape[1], 1, 1, -1)
    values = F.pad(values, (reach, reach, reach, reach), mode="reflect")
    values = F.conv2d(values, line, groups=values.shape[1])
    return F.conv2d(values, line.transpose(-1, -2), groups=values.shape[1])
