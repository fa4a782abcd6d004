"""The grid on which a frame is searched, in which examples are `LONGER_SIDE` cells long or longer,
and the overlapping tiles in which the engine encodes it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segscope.inference.crop import Crop
from segscope.models.engine import Engine

LONGER_SIDE = 12  # least number of cells along the longer side of the median example
FINER = (1.5, 1.25, 1.0)  # times as many, where there are no more than `MOST_TILES`
MOST_TILES = 256
OVERLAP = 0.25  # of the side of a tile
BLENDED = 16  # cells from the border of a tile, over which it gives way to its neighbours
INPUT_PIXELS = 4  # of mini, a cell
FEWEST_CELLS = 32
MOST_CELLS = 128  # along each side of a tile; larger inputs show more of the frame


@dataclass(frozen=True, slots=True)
class SearchTile:
    """A part of the frame that the engine encodes.

    Attributes:
        crop: in pixels of the frame.
        rows, columns: of the grid.
    """

    crop: Crop
    rows: slice
    columns: slice

    @property
    def shape(self) -> tuple[int, int]:
        return (self.rows.stop - self.rows.start, self.columns.stop - self.columns.start)


@dataclass(frozen=True)
class SearchGrid:
    """Square cells over a frame.

    Attributes:
        frame_hw: rows and columns of the frame.
        cell: side in pixels.
        tile_cells: along each side of a tile.
    """

    frame_hw: tuple[int, int]
    cell: float
    tile_cells: int

    @classmethod
    def of(cls, frame_hw: tuple[int, int], cell: float, engine: Engine) -> SearchGrid:
        cells = round(engine.input_size / INPUT_PIXELS)
        return cls(frame_hw, cell, min(max(cells, FEWEST_CELLS), MOST_CELLS))

    @cached_property
    def shape(self) -> tuple[int, int]:
        height, width = self.frame_hw
        return (max(1, round(height / self.cell)), max(1, round(width / self.cell)))

    @cached_property
    def tiles(self) -> tuple[SearchTile, ...]:
        """Row by row; neighbours overlap by a quarter or more."""
        rows = self._intervals(0)
        columns = self._intervals(1)
        return tuple(self._tile(top, left) for top in rows for left in columns)

    def nearest_tiles(self, places: NDArray[np.float64]) -> NDArray[np.intp]:
        """(N,) number of the tile in which places (N, 2) row, column of the grid lie most
        centrally.
        """
        row = _nearest(places[:, 0], [tile.rows for tile in self.tiles[:: self._across]])
        column = _nearest(places[:, 1], [tile.columns for tile in self.tiles[: self._across]])
        return row * self._across + column

    def sample(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(row, column) of the grid: whether the pixel in the middle of a cell lies in a mask of
        the frame; at least one cell, unless the mask is empty.
        """
        picked = mask[np.ix_(self._pixels(0), self._pixels(1))]
        if not picked.any() and mask.any():
            at = np.argwhere(mask).mean(0).tolist()
            row, column = (
                min(int(pixel * cells / pixels), cells - 1)
                for pixel, cells, pixels in zip(at, self.shape, self.frame_hw, strict=True)
            )
            picked[row, column] = True
        return picked

    def blend_weights(self, tile: SearchTile) -> Tensor:
        """(row, column) weights of a tile, which fall towards borders inside the frame."""
        down = _ramp(tile.rows, self.shape[0])
        across = _ramp(tile.columns, self.shape[1])
        return torch.minimum(down[:, None], across[None, :]) ** 2

    @property
    def _across(self) -> int:
        """Tiles in a row."""
        return len(self._intervals(1))

    def _pixels(self, axis: int) -> NDArray[np.intp]:
        """The pixel in the middle of each row or column of cells."""
        cells = self.shape[axis]
        middles = (np.arange(cells) + 0.5) * self.frame_hw[axis] / cells
        return middles.astype(np.intp)

    def _intervals(self, axis: int) -> list[tuple[int, int]]:
        length = self.frame_hw[axis]
        side = min(max(round(self.tile_cells * self.cell), 1), length)
        steps = max(side * (1 - OVERLAP), 1)
        count = 1 + math.ceil((length - side) / steps)
        starts = np.linspace(0, length - side, count).round().astype(int).tolist()
        return [(start, start + side) for start in starts]

    def _tile(self, down: tuple[int, int], across: tuple[int, int]) -> SearchTile:
        crop = Crop(across[0], down[0], across[1], down[1], self.frame_hw)
        return SearchTile(crop, self._cells(down, 0), self._cells(across, 1))

    def _cells(self, interval: tuple[int, int], axis: int) -> slice:
        cells = self.shape[axis]
        scale = cells / self.frame_hw[axis]
        start = min(round(interval[0] * scale), cells - 1)
        return slice(start, min(max(round(interval[1] * scale), start + 1), cells))


def choose_cell(frame_hw: tuple[int, int], longer_side: float, engine: Engine) -> float:
    """Side of a cell in pixels, for examples of which the median longer side has that many."""
    for finer in FINER:
        cell = longer_side / LONGER_SIDE / finer
        if len(SearchGrid.of(frame_hw, cell, engine).tiles) <= MOST_TILES:
            break
    return cell


def _nearest(positions: NDArray[np.float64], intervals: list[slice]) -> NDArray[np.intp]:
    """(N,) number of the interval whose middle is nearest."""
    middles = np.array([interval.start + interval.stop for interval in intervals]) / 2
    return np.abs(positions[:, None] - middles).argmin(1)


def _ramp(interval: slice, cells: int) -> Tensor:
    """(length,) cells to the nearest border of a tile inside the grid, at most `BLENDED`."""
    positions = torch.arange(interval.start, interval.stop) + 0.5
    ramp = torch.full((len(positions),), float(BLENDED))
    if interval.start > 0:
        ramp = torch.minimum(ramp, positions - interval.start)
    if interval.stop < cells:
        ramp = torch.minimum(ramp, interval.stop - positions)
    return ramp
