from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engines import make_engine

from segscope.inference.crop import Crop
from segscope.inference.learning.window import (
    CELLS,
    FARTHEST,
    LARGEST,
    PLACES,
    SIDE,
    HeadWindow,
    describe_cells,
)
from segscope.models.engine import Features

FRAME = (90, 120)


@st.composite
def frames_with_boxes(
    draw: st.DrawFn,
) -> tuple[tuple[int, int], tuple[float, float, float, float]]:
    """A frame, and a box that overlaps it, may reach beyond it, or have no area."""
    height = draw(st.integers(1, 300))
    width = draw(st.integers(1, 300))
    x0 = draw(st.floats(-20, width))
    y0 = draw(st.floats(-20, height))
    x1 = x0 + draw(st.floats(0, 400))
    y1 = y0 + draw(st.floats(0, 400))
    return (height, width), (x0, y0, x1, y1)


def ramp(crop: Crop, size_hw: tuple[int, int]) -> torch.Tensor:
    """(1, 2, row, column) x and y on the frame of the cells of a map that covers a crop."""
    rows, columns = size_hw
    height, width = crop.size_hw
    x = crop.x0 + (torch.arange(columns) + 0.5) * width / columns
    y = crop.y0 + (torch.arange(rows) + 0.5) * height / rows
    return torch.stack([x.expand(rows, columns), y[:, None].expand(rows, columns)])[None]


class TestSample:
    def test_a_map_that_covers_the_window_is_read_as_it_is(self) -> None:
        window = HeadWindow.around((30, 20, 60, 70), FRAME)
        maps = torch.randn(1, 3, SIDE, SIDE)
        assert torch.allclose(window.sample(maps, window.crop), maps, atol=1e-4)

    @settings(deadline=None, max_examples=60)
    @given(frames_with_boxes(), st.integers(20, 80), st.integers(20, 80))
    def test_cells_show_their_own_place_of_the_frame(
        self,
        case: tuple[tuple[int, int], tuple[float, float, float, float]],
        rows: int,
        columns: int,
    ) -> None:
        frame_hw, box = case
        window = HeadWindow.around(box, frame_hw)
        view = Crop.whole(frame_hw)
        sampled = window.sample(ramp(view, (rows, columns)), view)
        expected = ramp(window.crop, (SIDE, SIDE))
        # half a cell of the map at its border, where nothing lies beyond
        reach = torch.tensor([frame_hw[1] / columns, frame_hw[0] / rows])[None, :, None, None]
        finest = torch.tensor([1.0, 1.0])[None, :, None, None]
        cell = torch.tensor(window.crop.size_hw[::-1])[None, :, None, None] / SIDE
        tolerance = torch.maximum(torch.maximum(reach, cell), finest) * 0.51
        assert bool(((sampled - expected).abs() <= tolerance + 1e-3).all())

    def test_finer_maps_are_averaged_not_skipped(self) -> None:
        window = HeadWindow(Crop.whole((256, 256)), (80.0, 80.0, 170.0, 170.0))
        stripes = torch.zeros(1, 1, 256, 256)
        stripes[..., ::4] = 1.0
        assert torch.allclose(
            window.sample(stripes, window.crop), torch.full((1, 1, SIDE, SIDE), 0.25)
        )


class TestGeometry:
    @settings(deadline=None, max_examples=60)
    @given(frames_with_boxes())
    def test_numbers_are_finite_and_the_box_is_where_places_say(
        self, case: tuple[tuple[int, int], tuple[float, float, float, float]]
    ) -> None:
        frame_hw, box = case
        window = HeadWindow.around(box, frame_hw)
        places = window.places()
        assert places.shape == (CELLS, PLACES)
        assert bool(places.isfinite().all())
        assert float(places.abs().max()) <= 2 * FARTHEST**2
        inner = (places[:, 2] <= 1) & (places[:, 3] <= 1)
        assert bool((inner == window.in_box()).all())

    @settings(deadline=None, max_examples=40)
    @given(frames_with_boxes())
    def test_cover_adds_up_to_the_area_of_the_mask(
        self, case: tuple[tuple[int, int], tuple[float, float, float, float]]
    ) -> None:
        frame_hw, box = case
        window = HeadWindow.around(box, frame_hw)
        rng = np.random.default_rng(0)
        mask = rng.random(frame_hw) < 0.4
        cover = window.cover(mask)
        assert float(cover.min()) >= 0
        assert float(cover.max()) <= 1
        rows, columns = window.crop.size_hw
        if rows % SIDE == 0 and columns % SIDE == 0:
            assert float(cover.mean()) == pytest.approx(window.crop.cut(mask).mean(), abs=1e-5)

    def test_cover_of_a_large_window_needs_little_memory_and_stays_exact_for_blocks(self) -> None:
        mask = np.zeros((4096, 4096), bool)
        mask[1024:2048, 2048:4096] = True
        window = HeadWindow(Crop.whole(mask.shape), (0.0, 0.0, 4096.0, 4096.0))
        cover = window.cover(mask).view(SIDE, SIDE)
        expected = torch.zeros(SIDE, SIDE)
        expected[16:32, 32:64] = 1
        assert torch.equal(cover, expected)

    def test_a_margin_widens_the_box(self) -> None:
        window = HeadWindow.around((40, 30, 80, 50), FRAME)
        inner = window.in_box().view(SIDE, SIDE)
        wider = window.in_box(margin=0.1).view(SIDE, SIDE)
        cell = window.crop.size_hw[0] / SIDE
        assert bool((wider >= inner).all())
        more_rows = int(wider.any(1).sum() - inner.any(1).sum())
        assert more_rows * cell == pytest.approx(2 * 0.1 * 40, abs=2 * cell)

    @pytest.mark.parametrize("family", ["mini", "sam2", "sam"])
    @pytest.mark.parametrize("size_hw", [(60, 60), (33, 100), (100, 33)])
    def test_reading_sees_the_window(self, family: str, size_hw: tuple[int, int]) -> None:
        engine = make_engine(family)
        asked = []
        rng = np.random.default_rng(0)
        image = rng.integers(0, 255, (*size_hw, 3), dtype=np.uint8)

        def encode(crop: Crop) -> Features:
            asked.append(crop)
            with torch.inference_mode():
                return engine.encode(np.ascontiguousarray(crop.cut(image)))

        window = HeadWindow.around((5, 5, 25, 20), size_hw)
        cells = window.read(engine, encode, window.encoded_crop(engine))
        assert cells.shape[0] == CELLS
        assert bool(cells.isfinite().all())
        assert not any(crop.mirrored for crop in asked)
        assert all(crop.holds(window.box) for crop in asked)


class Overflowing:
    """An engine whose features are not all numbers."""

    window_rule = None

    def pixel_maps(self, features: Features) -> tuple[torch.Tensor, ...]:
        return features.maps


def test_features_that_overflow_are_bounded() -> None:
    maps = torch.ones(1, 4, 8, 8)
    maps[0, 0] = torch.inf
    maps[0, 1] = -1e9
    maps[0, 2] = torch.nan
    window = HeadWindow.around((2, 2, 6, 6), (8, 8))
    cells = window.read(Overflowing(), lambda _: Features((maps,), (8, 8)), window.crop)  # type: ignore[arg-type]
    assert cells.half().isfinite().all()
    assert cells[0].tolist() == [LARGEST, -LARGEST, 0.0, 1.0]


class TestDescription:
    def test_means_are_those_inside_and_outside_the_mask_of_the_network(self) -> None:
        window = HeadWindow.around((30, 20, 60, 70), FRAME)
        cells = torch.randn(CELLS, 3)
        logits = torch.randn(CELLS)
        means = describe_cells(cells, logits, window)
        assert torch.allclose(means[:3], cells[logits > 0].mean(0))
        assert torch.allclose(means[3:], cells[logits <= 0].mean(0))

    def test_without_a_mask_the_box_counts(self) -> None:
        window = HeadWindow.around((30, 20, 60, 70), FRAME)
        cells = torch.randn(CELLS, 3)
        means = describe_cells(cells, torch.full((CELLS,), -5.0), window)
        assert torch.allclose(means[:3], cells[window.in_box()].mean(0))

    @pytest.mark.parametrize("box", [(0.0, 0.0, 120.0, 90.0), (300.0, 300.0, 320.0, 310.0)])
    @pytest.mark.parametrize("logit", [-5.0, 5.0])
    def test_a_box_around_everything_or_nothing_has_means_too(
        self, box: tuple[float, float, float, float], logit: float
    ) -> None:
        window = replace(HeadWindow.around(box, FRAME), box=box)
        means = describe_cells(torch.randn(CELLS, 3), torch.full((CELLS,), logit), window)
        assert bool(means.isfinite().all())
