from __future__ import annotations

import numpy as np
import pytest
from support.engines import make_engine

from segscope.predict.finding.grid import MOST_TILES, SearchGrid, choose_cell


@pytest.mark.parametrize("frame_hw", [(200, 333), (64, 40), (31, 500), (5, 7)])
def test_tiles_cover_the_grid(frame_hw: tuple[int, int]) -> None:
    grid = SearchGrid(frame_hw, 1.7, 24)
    weights = np.zeros(grid.shape)
    for tile in grid.tiles:
        weights[tile.rows, tile.columns] += grid.blend_weights(tile).numpy()
    assert weights.min() > 0


@pytest.mark.parametrize("frame_hw", [(200, 333), (64, 40), (31, 500)])
def test_the_nearest_tile_holds_the_cell(frame_hw: tuple[int, int]) -> None:
    grid = SearchGrid(frame_hw, 1.7, 24)
    places = np.argwhere(np.ones(grid.shape, bool)).astype(float)
    for place, number in zip(places, grid.nearest_tiles(places), strict=True):
        tile = grid.tiles[number]
        assert tile.rows.start <= place[0] < tile.rows.stop
        assert tile.columns.start <= place[1] < tile.columns.stop


def test_a_mask_between_the_cells_still_has_one() -> None:
    grid = SearchGrid((60, 80), 7.0, 32)
    mask = np.zeros((60, 80), bool)
    mask[20, 41] = True
    assert grid.sample(mask).sum() == 1
    assert not grid.sample(np.zeros((60, 80), bool)).any()


def test_large_frames_are_searched_on_a_coarser_grid() -> None:
    engine = make_engine("mini")
    small = choose_cell((300, 300), 24, engine)
    large = choose_cell((1500, 1500), 24, engine)
    assert small < large
    assert len(SearchGrid.of((300, 300), small, engine).tiles) <= MOST_TILES
    assert large == choose_cell((5000, 5000), 24, engine)
