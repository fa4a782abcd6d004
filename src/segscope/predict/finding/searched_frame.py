"""A frame that is searched: what the engine, and the pixels themselves, say of each cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from segscope.inference.crop import Crop
from segscope.models.engine import Engine, Features
from segscope.predict.finding.grid import LONGER_SIDE, SearchGrid, SearchTile

SMOOTHINGS = (0.1, 0.3, 1.0)  # longer sides of the examples
FARTHEST = 3.0  # deviations from the mean of the frame, beyond which squares do not grow


@dataclass(frozen=True, eq=False)
class SearchedFrame:
    """A frame on its grid.

    Attributes:
        engine: encodes.
        grid: for the examples of one label.
        encode: gives the features of a crop of the frame.
        colours: (channel, row, column) float32 of the grid, see `describe_colours`.
    """

    engine: Engine
    grid: SearchGrid
    encode: Callable[[Crop], Features]
    colours: Tensor

    @classmethod
    def of(
        cls,
        engine: Engine,
        grid: SearchGrid,
        encode: Callable[[Crop], Features],
        rgb: NDArray[np.uint8],
    ) -> SearchedFrame:
        return cls(engine, grid, encode, describe_colours(rgb, grid.shape))

    def read(self, tile: SearchTile, rows: Tensor, columns: Tensor) -> Tensor:
        """(N, channel) float32 features of cells; `rows` and `columns` are those of the grid."""
        maps = self._maps(tile)
        down = rows - tile.rows.start
        across = columns - tile.columns.start
        parts = [F.interpolate(each, tile.shape, mode="bilinear")[0] for each in maps]
        cells = [part[:, down, across] for part in parts]
        return torch.cat([*cells, self.colours[:, rows, columns]]).T

    def apply(
        self, weights: Tensor, biases: Tensor, next_tile: Callable[[], None]
    ) -> NDArray[np.float32]:
        """(K, row, column) of the grid: linear functions of the features of every cell.

        Args:
            weights: (channel, K).
            biases: (K,).
            next_tile: called before each tile.
        """
        count = weights.shape[1]
        weights = weights.float()
        total = torch.zeros(count, *self.grid.shape)
        covered = torch.zeros(self.grid.shape)
        engine_channels = len(weights) - len(self.colours)
        for tile in self.grid.tiles:
            next_tile()
            blend = self.grid.blend_weights(tile)
            values = self._apply_to_tile(tile, weights[:engine_channels])
            total[:, tile.rows, tile.columns] += values * blend
            covered[tile.rows, tile.columns] += blend
        from_colours = torch.einsum("ck,chw->khw", weights[engine_channels:], self.colours)
        values = total / covered + from_colours + biases.float()[:, None, None]
        return values.numpy()

    def _apply_to_tile(self, tile: SearchTile, weights: Tensor) -> Tensor:
        """(K, row, column) of the tile, from the engine's maps."""
        total = torch.zeros(weights.shape[1], *tile.shape)
        first = 0
        for each in self._maps(tile):
            channels = each.shape[1]
            part = weights[first : first + channels]
            values = torch.einsum("ck,bchw->bkhw", part, each)
            total += F.interpolate(values, tile.shape, mode="bilinear")[0]
            first += channels
        return total

    def _maps(self, tile: SearchTile) -> list[Tensor]:
        maps = self.engine.pixel_maps(self.encode(tile.crop))
        return [each.float().cpu() for each in maps]


def describe_colours(rgb: NDArray[np.uint8], shape: tuple[int, int]) -> Tensor:
    """(channel, row, column) float32: lightness and two differences of colours, smoothed, their
    local contrast, and the squares of these.

    The features of a tile know nothing of the lightness of the frame where an engine normalises
    each tile.

    Args:
        rgb: (row, column, 3).
        shape: of the grid.
    """
    pixels = torch.from_numpy(rgb.astype(np.float32)).permute(2, 0, 1)[None]
    mode = "area" if shape[0] < rgb.shape[0] else "bilinear"
    red, green, blue = F.interpolate(pixels, shape, mode=mode)[0].numpy()
    lightness = (red + green + blue) / 3
    spread = float(lightness.std()) + 2
    planes = [
        (lightness - lightness.mean()) / spread,
        (red - blue - (red - blue).mean()) / spread,
        (green - lightness - (green - lightness).mean()) / spread,
    ]
    described = np.stack([part for plane in planes for part in _describe_plane(plane)])
    squares = described.clip(-FARTHEST, FARTHEST) ** 2
    return torch.from_numpy(np.concatenate([described, squares]).astype(np.float32))


def _describe_plane(plane: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
    smoothed = [ndimage.gaussian_filter(plane, share * LONGER_SIDE) for share in SMOOTHINGS]
    width = 0.15 * LONGER_SIDE
    mean = ndimage.gaussian_filter(plane, width)
    variance = ndimage.gaussian_filter(plane * plane, width) - mean**2
    contrast = np.sqrt(variance.clip(min=0))
    slope = ndimage.gaussian_gradient_magnitude(plane, 0.1 * LONGER_SIDE)
    return [plane, *smoothed, plane - smoothed[2], smoothed[0] - smoothed[1], contrast, slope]
