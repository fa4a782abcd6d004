"""Lesson: what an annotated frame teaches about the objects of one label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from segscope.predict.finding.grid import LONGER_SIDE, SearchGrid
from segscope.predict.finding.searched_frame import SearchedFrame

NEAR = 0.3 * LONGER_SIDE  # cells around an object that are background, unless they look otherwise

INSIDE = 0  # an object of the label
AROUND = 1  # near one, and not marked
UNKNOWN = 2  # farther off, and not marked
OUTSIDE = 3  # certainly not of the label


@dataclass(frozen=True, eq=False)
class Lesson:
    """Sampled cells of a frame.

    Attributes:
        cells: (N, channel) float16 features.
        kinds: (N,) uint8: `INSIDE`, `AROUND`, `UNKNOWN` or `OUTSIDE`.
        objects: (N,) int32: the object that a cell lies in, or -1.
        places: (N, 2) float32: row and column of the grid.
        centres: (N, 2) float32: of the object that a cell lies in.
        areas: (object,) cells.
    """

    cells: NDArray[np.float16]
    kinds: NDArray[np.uint8]
    objects: NDArray[np.int32]
    places: NDArray[np.float32]
    centres: NDArray[np.float32]
    areas: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Most:
    """How much of a frame is read.

    Attributes:
        cells: of each kind that are sampled.
        tiles: that are encoded; those with the most marks come first.
    """

    cells: int
    tiles: int


def make_lesson(
    frame: SearchedFrame,
    objects: Sequence[NDArray[np.bool_]],
    others: Sequence[NDArray[np.bool_]],
    *,
    complete: bool,
    most: Most,
) -> Lesson:
    """What marks on a frame teach about one label.

    Args:
        frame: with the marks.
        objects: masks (row, column) of the frame, of the label.
        others: masks that are not of the label.
        complete: all objects of the label are marked.
        most: of cells and tiles.
    """
    grid = frame.grid
    owners = np.full(grid.shape, -1, np.int32)
    for number, mask in enumerate(objects):
        owners[grid.sample(mask)] = number
    inside = owners >= 0
    kinds = np.full(grid.shape, OUTSIDE if complete else UNKNOWN, np.uint8)
    if inside.any():
        near = ndimage.distance_transform_edt(~inside) <= NEAR
        kinds[near & ~inside] = AROUND
    for mask in others:
        kinds[grid.sample(mask) & ~inside] = OUTSIDE
    kinds[inside] = INSIDE
    rows, columns = _sample(kinds, _read_part(grid, kinds, most.tiles), most.cells)
    chosen = owners[rows, columns]
    areas = np.bincount(owners[inside], minlength=len(objects))
    return Lesson(
        _read(frame, rows, columns).numpy().astype(np.float16),
        kinds[rows, columns],
        chosen,
        np.stack([rows, columns], 1).astype(np.float32),
        _centres(owners, len(objects))[chosen],
        areas.astype(np.float32),
    )


def _read_part(grid: SearchGrid, kinds: NDArray[np.uint8], most: int) -> NDArray[np.bool_]:
    """(row, column) of the grid: whether a cell lies in one of the tiles that are read."""
    if len(grid.tiles) <= most:
        return np.ones(grid.shape, bool)
    places = np.argwhere(np.ones(grid.shape, bool)).astype(np.float64)
    nearest = grid.nearest_tiles(places).reshape(grid.shape)
    marks = np.bincount(nearest[kinds == INSIDE], minlength=len(grid.tiles))
    if not marks.any():
        marks = np.bincount(nearest[kinds == OUTSIDE], minlength=len(grid.tiles))
    read = np.argsort(-marks, kind="stable")[:most]
    return np.isin(nearest, read)


def _sample(
    kinds: NDArray[np.uint8], read: NDArray[np.bool_], most: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of cells of each kind, the same for the same frame."""
    rng = np.random.default_rng(0)
    chosen = []
    for kind in (INSIDE, AROUND, UNKNOWN, OUTSIDE):
        cells = np.flatnonzero((kinds == kind) & read)
        if len(cells) > most:
            cells = np.sort(rng.choice(cells, most, replace=False))
        chosen.append(cells)
    rows, columns = np.unravel_index(np.concatenate(chosen), kinds.shape)
    return rows, columns


def _centres(owners: NDArray[np.int32], count: int) -> NDArray[np.float32]:
    """(count + 1, 2) mean row and column of each object; the last row stands for none."""
    centres = np.zeros((count + 1, 2), np.float32)
    for number in range(count):
        rows, columns = np.nonzero(owners == number)
        if len(rows):
            centres[number] = rows.mean(), columns.mean()
    return centres


def _read(frame: SearchedFrame, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Tensor:
    """(N, channel) features of cells, each from the tile in which it lies most centrally."""
    nearest = frame.grid.nearest_tiles(np.stack([rows, columns], 1).astype(np.float64))
    cells: Tensor | None = None
    for number in np.unique(nearest).tolist():
        chosen = torch.from_numpy(np.flatnonzero(nearest == number))
        tile_rows = torch.from_numpy(rows)[chosen]
        tile_columns = torch.from_numpy(columns)[chosen]
        part = frame.read(frame.grid.tiles[number], tile_rows, tile_columns)
        if cells is None:
            cells = torch.empty(len(rows), part.shape[1])
        cells[chosen] = part
    assert cells is not None  # a grid has cells
    return cells
