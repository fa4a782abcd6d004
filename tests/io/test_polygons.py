"""Polygons: exact both ways, whatever the mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from segscope.io.polygons import (
    fill_even_odd,
    fill_union,
    from_corner_origin,
    is_hole,
    signed_area,
    to_corner_origin,
    trace_borders,
    trace_parts,
)


@st.composite
def small_masks(draw: st.DrawFn) -> np.ndarray:
    shape = (draw(st.integers(1, 14)), draw(st.integers(1, 14)))
    random = np.random.default_rng(draw(st.integers(0, 2**31)))
    return random.random(shape) < draw(st.sampled_from([0.1, 0.5, 0.8, 0.95, 1.0]))


class TestTrace:
    @given(small_masks())
    @settings(max_examples=200, deadline=None)
    def test_borders_fill_to_the_same_mask(self, mask: np.ndarray) -> None:
        np.testing.assert_array_equal(fill_even_odd(trace_borders(mask), mask.shape), mask)

    @given(small_masks())
    @settings(max_examples=200, deadline=None)
    def test_there_is_one_part_for_each_connected_one(self, mask: np.ndarray) -> None:
        labels, count = ndimage.label(mask)
        parts = trace_parts(mask)
        assert len(parts) == count
        for part in parts:
            inside = fill_even_odd([part], mask.shape)
            (number,) = set(labels[inside].tolist())
            np.testing.assert_array_equal(inside, labels == number)

    @given(small_masks())
    def test_areas_add_up_to_the_pixels(self, mask: np.ndarray) -> None:
        assert sum(map(signed_area, trace_borders(mask))) == mask.sum()
        assert sum(map(signed_area, trace_parts(mask))) == mask.sum()

    @given(small_masks())
    def test_points_are_corners_of_pixels_where_the_border_turns(self, mask: np.ndarray) -> None:
        for border in trace_borders(mask):
            steps = np.roll(border, -1, axis=0) - border
            assert (np.count_nonzero(steps, axis=1) == 1).all()
            assert (np.roll(steps, 1, axis=0) * steps == 0).all()
            np.testing.assert_array_equal(border % 1, 0.5)

    def test_a_single_pixel_has_four_corners(self) -> None:
        mask = np.zeros((3, 4), bool)
        mask[1, 2] = True
        (border,) = trace_borders(mask)
        assert sorted(border.tolist()) == [[1.5, 0.5], [1.5, 1.5], [2.5, 0.5], [2.5, 1.5]]
        assert sorted(to_corner_origin(border).tolist()) == [[2, 1], [2, 2], [3, 1], [3, 2]]

    def test_pixels_that_touch_at_a_corner_are_two_parts(self) -> None:
        mask = np.eye(2, dtype=bool)
        assert len(trace_borders(mask)) == 2
        assert len(trace_parts(mask)) == 2

    def test_a_hole_runs_the_other_way(self) -> None:
        mask = np.ones((5, 5), bool)
        mask[2, 2] = False
        assert sorted(map(is_hole, trace_borders(mask))) == [False, True]
        (part,) = trace_parts(mask)
        np.testing.assert_array_equal(fill_union([part], mask.shape), mask)

    def test_an_island_in_a_hole_is_a_part(self) -> None:
        mask = np.ones((7, 7), bool)
        mask[1:6, 1:6] = False
        mask[3, 3] = True
        assert len(trace_parts(mask)) == 2

    def test_an_empty_mask_has_no_border(self) -> None:
        assert trace_borders(np.zeros((3, 3), bool)) == []
        assert trace_parts(np.zeros((0, 3), bool)) == []

    @pytest.mark.parametrize("seed", range(25))
    def test_outlines_fill_to_the_same_mask(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        mask = rng.random(rng.integers(1, 30, 2)) < rng.random()
        size = (mask.shape[0], mask.shape[1])
        parts = trace_parts(mask)
        assert np.array_equal(fill_even_odd(parts, size), mask)
        alone = sum(fill_even_odd([part], size).astype(int) for part in parts)
        assert np.array_equal(alone + np.zeros(mask.shape), mask)


class TestFill:
    def test_points_outside_the_image_are_cut_off(self) -> None:
        square = np.array([[-10.5, -10.5], [3.5, -10.5], [3.5, 2.5], [-10.5, 2.5]])
        expected = np.zeros((5, 7), bool)
        expected[:3, :4] = True
        assert np.array_equal(fill_even_odd([square], (5, 7)), expected)

    def test_an_inner_polygon_is_a_hole_or_not(self) -> None:
        outer = np.array([[-0.5, -0.5], [4.5, -0.5], [4.5, 4.5], [-0.5, 4.5]])
        inner = np.array([[1.5, 1.5], [2.5, 1.5], [2.5, 2.5], [1.5, 2.5]])
        assert fill_even_odd([outer, inner], (5, 5)).sum() == 24
        assert fill_union([outer, inner], (5, 5)).all()

    @given(small_masks(), st.integers(0, 2**31))
    def test_neither_direction_nor_start_matters(self, mask: np.ndarray, seed: int) -> None:
        random = np.random.default_rng(seed)
        polygon = random.normal(5, 4, (random.integers(3, 9), 2))
        expected = fill_even_odd([polygon], mask.shape)
        turned = np.roll(polygon[::-1], 2, axis=0)
        np.testing.assert_array_equal(fill_even_odd([turned], mask.shape), expected)

    @given(st.integers(0, 2**31))
    def test_triangles_that_share_an_edge_tile_the_square(self, seed: int) -> None:
        x, y = np.random.default_rng(seed).integers(0, 40, 2) / 4
        corners = np.array([[-0.5, -0.5], [10.5, -0.5], [10.5, 10.5], [-0.5, 10.5]])
        triangles = [
            np.array([corners[i], corners[(i + 1) % 4], [x, y]], np.float64) for i in range(4)
        ]
        covered = sum(fill_even_odd([triangle], (11, 11)).astype(int) for triangle in triangles)
        np.testing.assert_array_equal(covered, np.ones((11, 11), int))

    def test_a_diagonal_through_pixel_centres_is_exact(self) -> None:
        for side in (3, 49, 107):
            triangle = np.array([[0, 0], [side, side], [0, side]], np.float64)
            inside = fill_even_odd([triangle], (side + 1, side + 1))
            for row in range(side):
                assert inside[row].sum() == row, "the crossing itself is outside, on every row"

    def test_origins_are_inverse(self) -> None:
        points = np.array([[0.0, 1.0], [2.5, -3.0]])
        np.testing.assert_array_equal(to_corner_origin(points), points + 0.5)
        np.testing.assert_array_equal(from_corner_origin(to_corner_origin(points)), points)
